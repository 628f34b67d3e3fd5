use std::io::{self, IsTerminal as _, Write as _};
use std::sync::Arc;
use std::time::SystemTime;

use clap::Args;
use container_engine::{Container, Engine, LogLine, LogQuery};
use tokio::sync::mpsc;

use super::session::Session;
use crate::command::logs::time;
use crate::context::Failure;

#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// Go on with what is written from now on
    #[arg(short, long)]
    follow: bool,
    /// Only the last so many lines of each; all
    #[arg(short = 'n', long, default_value = "all", value_name = "LINES")]
    tail: String,
    /// Only since a time: RFC 3339, seconds since 1970, or how long ago, as 10m
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only before a time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Show when each line was written
    #[arg(short, long)]
    timestamps: bool,
    /// Show names without colours
    #[arg(long)]
    no_color: bool,
    /// Show lines without names before them
    #[arg(long)]
    no_log_prefix: bool,
    /// Services; all if none is given
    services: Vec<String>,
}

/// How output is shown.
pub(super) struct Shown {
    pub(super) prefix: bool,
    pub(super) color: bool,
    pub(super) timestamps: bool,
    pub(super) since: Option<SystemTime>,
    pub(super) tail: Option<usize>,
    pub(super) follow: bool,
}

/// Colours of names, one after the other: cyan, yellow, green, magenta, blue, and all in bright.
const COLORS: [u8; 10] = [36, 33, 32, 35, 34, 96, 93, 92, 95, 94];

impl Logs {
    pub(super) async fn run(self, session: &Session) -> Result<u8, Failure> {
        session.check(&self.services)?;
        let tail = match self.tail.as_str() {
            "all" | "-1" => None,
            count => Some(
                count
                    .parse()
                    .map_err(|_| Failure::new(format!("tail {count:?} is neither a number nor all")))?,
            ),
        };
        let until = self.until.as_deref().map(time).transpose()?;
        let how = Shown {
            prefix: !self.no_log_prefix,
            color: !self.no_color,
            timestamps: self.timestamps,
            since: self.since.as_deref().map(time).transpose()?,
            tail,
            follow: self.follow,
        };
        let containers = session.containers(&self.services).await?;
        if self.follow && until.is_none() {
            follow(session, &containers, &how).await?;
            return Ok(0);
        }
        // of all containers, in the order of time
        let mut lines = Vec::new();
        for (at, container) in containers.iter().enumerate() {
            let mut stream = session.engine.logs(&container.id, LogQuery { until, ..how.query() }).await?;
            while let Some(line) = stream.next().await? {
                lines.push((at, line));
            }
        }
        lines.sort_by(|left, right| left.1.time.cmp(&right.1.time));
        let names = Names::new(session, &containers, &how);
        for (at, line) in lines {
            if !names.print(at, &line)? {
                break;
            }
        }
        Ok(0)
    }
}

impl Shown {
    fn query(&self) -> LogQuery {
        LogQuery { tail: self.tail, since: self.since, until: None, follow: self.follow }
    }
}

/// Shows what containers write until all have ended.
pub(super) async fn follow(session: &Session, containers: &[Container], how: &Shown) -> Result<(), Failure> {
    let names = Names::new(session, containers, how);
    let (sender, mut lines) = mpsc::channel(256);
    let readers = tokio::task::LocalSet::new();
    for (at, container) in containers.iter().enumerate() {
        let (engine, id, query) = (Arc::clone(&session.engine), container.id.clone(), how.query());
        let sender = sender.clone();
        readers.spawn_local(async move {
            let outcome = read(&engine, &id, query, at, &sender).await;
            if let Err(failure) = outcome {
                let _ = sender.send(Err(failure)).await;
            }
        });
    }
    drop(sender);
    readers
        .run_until(async {
            while let Some(line) = lines.recv().await {
                let (at, line) = line?;
                if !names.print(at, &line)? {
                    break;
                }
            }
            Ok(())
        })
        .await
}

async fn read(
    engine: &Engine,
    id: &str,
    query: LogQuery,
    at: usize,
    sender: &mpsc::Sender<Result<(usize, LogLine), Failure>>,
) -> Result<(), Failure> {
    let mut stream = engine.logs(id, query).await?;
    while let Some(line) = stream.next().await? {
        if sender.send(Ok((at, line))).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// What stands before the lines of each container.
struct Names {
    prefixes: Vec<String>,
    timestamps: bool,
}

impl Names {
    fn new(session: &Session, containers: &[Container], how: &Shown) -> Self {
        let short = |container: &Container| {
            let name = container.name.strip_prefix(&format!("{}-", session.project.name));
            name.unwrap_or(&container.name).to_owned()
        };
        let names: Vec<String> = containers.iter().map(short).collect();
        let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
        let colored = how.color && io::stdout().is_terminal();
        let prefix = |(at, name): (usize, &String)| {
            if !how.prefix {
                return String::new();
            }
            let padded = format!("{name:<width$}  | ");
            let color = COLORS[at % COLORS.len()];
            if colored { format!("\x1b[{color}m{padded}\x1b[0m") } else { padded }
        };
        Self { prefixes: names.iter().enumerate().map(prefix).collect(), timestamps: how.timestamps }
    }

    /// False when nobody reads any more.
    fn print(&self, at: usize, line: &LogLine) -> Result<bool, Failure> {
        let prefix = self.prefixes.get(at).map_or("", String::as_str);
        let stamp = if self.timestamps { format!("{} ", line.time) } else { String::new() };
        let text = line.log.trim_end_matches('\n');
        let mut output = io::stdout().lock();
        match writeln!(output, "{prefix}{stamp}{text}").and_then(|()| output.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            result => Ok(result.map(|()| true)?),
        }
    }
}
