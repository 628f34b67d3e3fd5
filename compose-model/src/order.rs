//! The order that services start in.
use std::collections::HashMap;

use crate::model::Project;

/// The services in steps: those of a step depend only on those of steps before it.
///
/// # Errors
/// The names of a circle, its first name again at its end.
pub fn order(project: &Project) -> Result<Vec<Vec<&str>>, Vec<String>> {
    let mut waits: HashMap<&str, usize> = HashMap::new();
    let mut followers: HashMap<&str, Vec<&str>> = HashMap::new();
    for (name, service) in project.services.iter() {
        let needed: Vec<&str> =
            service.depends_on.keys().filter(|other| project.services.contains_key(other)).collect();
        waits.insert(name, needed.len());
        for other in needed {
            followers.entry(other).or_default().push(name);
        }
    }
    let mut steps = Vec::new();
    let mut step: Vec<&str> = project.services.keys().filter(|name| waits.get(name) == Some(&0)).collect();
    let mut done = 0;
    while !step.is_empty() {
        done += step.len();
        let mut next = Vec::new();
        for name in &step {
            for follower in followers.get(name).into_iter().flatten() {
                if let Some(wait) = waits.get_mut(follower) {
                    *wait -= 1;
                    if *wait == 0 {
                        next.push(*follower);
                    }
                }
            }
        }
        steps.push(std::mem::replace(&mut step, next));
    }
    if done == project.services.len() {
        return Ok(steps);
    }
    // what is left waits for a circle: walk along dependencies until a name comes again
    let left = |name: &&str| waits.get(name).is_some_and(|wait| *wait > 0);
    let mut walked: Vec<&str> = Vec::new();
    let mut at: HashMap<&str, usize> = HashMap::new();
    let mut here = project.services.keys().find(left);
    while let Some(name) = here {
        if let Some(start) = at.get(name) {
            return Err(walked.iter().skip(*start).chain([&name]).map(|name| (*name).to_owned()).collect());
        }
        at.insert(name, walked.len());
        walked.push(name);
        here = project.services.get(name).and_then(|service| service.depends_on.keys().find(left));
    }
    Err(walked.into_iter().map(str::to_owned).collect())
}
