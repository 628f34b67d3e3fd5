//! `stories`: the scripts of `examples/stories`, each with an engine and a network namespace of its own.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::process::{Show, run as run_program};
use crate::tally::Tally;
use crate::workspace::Workspace;
use crate::{Failure, apt, debian};

const MINUTE: Duration = Duration::from_secs(60);
/// What the scripts call on this machine, beside dunnage.
pub(crate) const PACKAGES: [&str; 4] = ["curl", "iproute2", "mmdebstrap", "debian-archive-keyring"];
/// What is in the image `debian`.
const INSIDE: &str = "docker-registry,haproxy,postgresql,python3-flask,python3-redis,redis-server";
const STORIES: [&str; 3] = ["flask-redis", "volume", "registry"];

/// The command: all, or those that are named.
pub(crate) fn run(wanted: &[&str]) -> Result<bool, Failure> {
    let workspace = Workspace::find()?;
    apt::needs(&workspace, &PACKAGES)?;
    let words = ["build", "-p", "dunnage", "-p", "container-runtime"];
    let ended =
        run_program(workspace.cargo(&words), MINUTE * 20, &workspace.log("stories-build"), Show::Nothing)?;
    if !ended.success() {
        return Err(format!("build: {}\n{}", ended.reason(), ended.last(40)).into());
    }
    Ok(tally(&workspace, wanted)?.close())
}

/// Runs the stories, each as one check; the programs are built.
pub(crate) fn tally(workspace: &Workspace, wanted: &[&str]) -> Result<Tally, Failure> {
    let mut tally = Tally::default();
    let folder = workspace.target.join("stories");
    fs::create_dir_all(&folder)?;
    let archive = folder.join("bookworm.tar");
    debian::root(workspace, &archive, INSIDE)?;
    for story in STORIES.iter().filter(|story| wanted.is_empty() || wanted.contains(story)) {
        let told = tell(workspace, &folder, &archive, story);
        tally.check(&format!("story {story}"), told.map_err(|failure| failure.to_string()));
    }
    Ok(tally)
}

fn tell(workspace: &Workspace, folder: &Path, archive: &Path, story: &str) -> Result<(), Failure> {
    let place = folder.join(story);
    let _ = fs::remove_dir_all(&place);
    fs::create_dir_all(&place)?;
    let run_root = Path::new("/run/dunnage-stories").join(story);
    let program = workspace.target.join("debug/dunnage");
    let dunnage =
        format!("{} --root {} --run-root {}", program.display(), place.display(), run_root.display());
    // whatever the story did, nothing of it may stay
    let script = "ip link set lo up && $DUNNAGE import \"$1\" debian > /dev/null || exit 1; timeout -k 10 300 sh \"$2\"; code=$?; \
        ids=$($DUNNAGE ps -aq); [ -z \"$ids\" ] || $DUNNAGE rm -f -v $ids; $DUNNAGE system check; \
        [ \"$($DUNNAGE system check)\" = clean ] || code=1; exit $code";
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-c", script, "sh"]).arg(archive);
    command.arg(workspace.root.join("examples/stories").join(story).join("run.sh"));
    command.env("DUNNAGE", &dunnage).env("DOCKER_SOCKET", run_root.join("docker.sock"));
    let ended = run_program(command, MINUTE * 7, &workspace.log(&format!("story-{story}")), Show::Nothing)?;
    let outcome =
        if ended.success() { Ok(()) } else { Err(format!("{}\n{}", ended.reason(), ended.last(30)).into()) };
    for folder in [place, run_root] {
        fs::remove_dir_all(folder)?;
    }
    outcome
}
