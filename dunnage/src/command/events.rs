use clap::Args;
use container_engine::{Event, parse_rfc3339, short_id};

use crate::command::logs::time;
use crate::context::{Failure, Roots, print};
use crate::human::plain;

#[derive(Debug, Args)]
pub(crate) struct Events {
    /// Only since a time
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only before a time, and end there
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only some: type, event, container, image, network or volume, as KEY=VALUE
    #[arg(short, long, value_name = "FILTER")]
    filter: Vec<String>,
    /// json, for a line of JSON each
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

impl Events {
    pub(crate) async fn run(self, roots: &Roots) -> Result<u8, Failure> {
        let json = match self.format.as_deref() {
            None => false,
            Some("json" | "{{json .}}") => true,
            Some(other) => return Err(Failure::new(format!("format {other:?} is not known: json is"))),
        };
        for filter in &self.filter {
            let key = filter.split_once('=').map(|(key, _)| key);
            if !matches!(key, Some("type" | "event" | "container" | "image" | "network" | "volume")) {
                return Err(Failure::new(format!("filter {filter:?} is not known")));
            }
        }
        let now = std::time::SystemTime::now();
        let since = self.since.as_deref().map(time).transpose()?;
        let until = self.until.as_deref().map(time).transpose()?;
        let engine = roots.engine().await?;
        let mut events = engine.events().await?;
        loop {
            let event = match (events.try_next()?, until) {
                (Some(event), _) => event,
                (None, Some(until)) => {
                    let left = until.duration_since(std::time::SystemTime::now()).unwrap_or_default();
                    match tokio::time::timeout(left, events.next()).await {
                        Ok(event) => event?,
                        Err(_) => return Ok(0),
                    }
                }
                (None, None) => events.next().await?,
            };
            let Some(when) = parse_rfc3339(&event.time) else { continue };
            // without a beginning, and without an end, only what comes from now on is shown
            if since.map_or(until.is_none() && when < now, |since| when < since) {
                continue;
            }
            if until.is_some_and(|until| when >= until) {
                return Ok(0);
            }
            if fits(&event, &self.filter) {
                print(if json { serde_json::to_string(&event)? } else { line(&event) })?;
            }
        }
    }
}

/// Whether an event is wanted: of the filters of one key one must fit, of each key.
pub(crate) fn fits(event: &Event, filters: &[String]) -> bool {
    let fits_one = |filter: &str| {
        let (key, value) = filter.split_once('=').unwrap_or((filter, ""));
        match key {
            "type" => event.kind == value,
            "event" => event.action == value || event.action.split(':').next() == Some(value),
            "scope" => value == "local",
            kind => {
                let name = event.attributes.get("name").is_some_and(|name| name == value);
                event.kind == kind && (event.id.starts_with(value) || name)
            }
        }
    };
    let key = |filter: &str| filter.split('=').next().unwrap_or_default().to_owned();
    filters.iter().all(|filter| {
        let mut same = filters.iter().filter(|other| key(other) == key(filter));
        same.any(|other| fits_one(other))
    })
}

fn line(event: &Event) -> String {
    let attributes: Vec<String> =
        event.attributes.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let id = if event.kind == "network" { short_id(&event.id) } else { &event.id };
    plain(&format!("{} {} {} {id} ({})", event.time, event.kind, event.action, attributes.join(", ")))
}
