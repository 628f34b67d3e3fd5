use std::fs::File;
use std::path::PathBuf;

use clap::Args;
use container_engine::{ContainerConfig, Empty, Healthcheck, Reference, now};

use crate::command::options::duration;
use crate::context::{Failure, Roots, print};

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// What the import was for
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// An instruction of a Dockerfile for the image: CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, STOPSIGNAL, USER, VOLUME, WORKDIR
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// Archive: tar, plain or packed by gzip or zstd; - for standard input
    archive: PathBuf,
    /// Name of the image
    name: Option<Reference>,
}

impl Import {
    pub(crate) async fn run(self, roots: &Roots) -> Result<u8, Failure> {
        let mut config = ContainerConfig::default();
        for text in &self.change {
            change(&mut config, text)?;
        }
        let engine = roots.engine().await?;
        let shown = self.archive.display().to_string();
        let import = container_engine::Import {
            config,
            created: Some(now()),
            comment: Some(self.message.unwrap_or_else(|| format!("Imported from {shown}"))),
        };
        let id = if shown == "-" {
            engine.import_image(std::io::stdin(), self.name.as_ref(), import).await?
        } else {
            let file =
                File::open(&self.archive).map_err(|error| Failure::new(format!("{shown}: {error}")))?;
            engine.import_image(file, self.name.as_ref(), import).await?
        };
        print(id)?;
        Ok(0)
    }
}

/// Applies one instruction to a configuration.
pub(crate) fn change(config: &mut ContainerConfig, text: &str) -> Result<(), Failure> {
    let refuse = |reason: &str| Failure::new(format!("change {text:?}: {reason}"));
    let (word, rest) =
        text.trim().split_once(char::is_whitespace).ok_or_else(|| refuse("the form is INSTRUCTION VALUE"))?;
    let rest = rest.trim();
    let words = || -> Result<Vec<String>, Failure> {
        if rest.starts_with('[') {
            return serde_json::from_str(rest).map_err(|_| refuse("it is no JSON list of texts"));
        }
        Ok(["/bin/sh", "-c", rest].map(str::to_owned).to_vec())
    };
    match word.to_ascii_uppercase().as_str() {
        "CMD" => config.cmd = Some(words()?),
        "ENTRYPOINT" => config.entrypoint = Some(words()?),
        "ENV" => {
            let (name, value) = rest
                .split_once('=')
                .or_else(|| rest.split_once(char::is_whitespace))
                .ok_or_else(|| refuse("the form is ENV NAME=VALUE"))?;
            let value = value.trim().trim_matches('"');
            config.env.retain(|known| known.split('=').next() != Some(name));
            config.env.push(format!("{name}={value}"));
        }
        "EXPOSE" => {
            for port in rest.split_whitespace() {
                let (number, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
                number.parse::<u16>().map_err(|_| refuse("a port is a number below 65536"))?;
                config.exposed_ports.insert(format!("{number}/{protocol}"), Empty::default());
            }
        }
        "LABEL" => {
            let (key, value) = rest.split_once('=').ok_or_else(|| refuse("the form is LABEL KEY=VALUE"))?;
            config.labels.insert(key.to_owned(), value.trim_matches('"').to_owned());
        }
        "HEALTHCHECK" => config.healthcheck = Some(healthcheck(rest).map_err(|reason| refuse(&reason))?),
        "STOPSIGNAL" => config.stop_signal = Some(rest.to_owned()),
        "USER" => rest.clone_into(&mut config.user),
        "VOLUME" => {
            let paths = if rest.starts_with('[') {
                words()?
            } else {
                rest.split_whitespace().map(str::to_owned).collect()
            };
            config.volumes.extend(paths.into_iter().map(|path| (path, Empty::default())));
        }
        "WORKDIR" => rest.clone_into(&mut config.working_dir),
        _ => {
            return Err(refuse(
                "the instruction is none of CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, STOPSIGNAL, USER, VOLUME, WORKDIR",
            ));
        }
    }
    Ok(())
}

/// `NONE`, or `[--interval=30s …] CMD …`.
fn healthcheck(text: &str) -> Result<Healthcheck, String> {
    let mut check = Healthcheck::default();
    let mut rest = text.trim();
    while let Some(flag) = rest.strip_prefix("--") {
        let (flag, behind) = flag.split_once(char::is_whitespace).ok_or("CMD is missing")?;
        let (name, value) = flag.split_once('=').ok_or("a flag is --NAME=VALUE")?;
        let time = || duration(value).map(|time| time.as_nanos() as u64);
        match name {
            "interval" => check.interval = time()?,
            "timeout" => check.timeout = time()?,
            "start-period" => check.start_period = time()?,
            "start-interval" => check.start_interval = time()?,
            "retries" => check.retries = value.parse().map_err(|_| format!("{value:?} is not a count"))?,
            other => return Err(format!("--{other} is not known")),
        }
        rest = behind.trim_start();
    }
    let (word, command) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let command = command.trim();
    check.test = match word.to_ascii_uppercase().as_str() {
        "NONE" if command.is_empty() => vec!["NONE".to_owned()],
        "CMD" if command.starts_with('[') => {
            let words: Vec<String> =
                serde_json::from_str(command).map_err(|_| "the list of words is not JSON".to_owned())?;
            std::iter::once("CMD".to_owned()).chain(words).collect()
        }
        "CMD" if !command.is_empty() => vec!["CMD-SHELL".to_owned(), command.to_owned()],
        _ => return Err("it is NONE, or CMD and a command".to_owned()),
    };
    Ok(check)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_change_the_configuration() {
        let mut config = ContainerConfig::default();
        for text in [
            "CMD [\"a\", \"b\"]",
            "ENV A=1",
            "ENV A=2",
            "EXPOSE 80 53/udp",
            "USER me",
            "VOLUME /data",
            "WORKDIR /w",
        ] {
            change(&mut config, text).unwrap();
        }
        assert_eq!(config.cmd, Some(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(config.env, ["A=2"]);
        assert_eq!(config.exposed_ports.keys().collect::<Vec<_>>(), ["53/udp", "80/tcp"]);
        for bad in ["CMD", "RUN x", "CMD [1]", "EXPOSE x", "LABEL x"] {
            assert!(change(&mut config, bad).is_err(), "{bad}");
        }
    }
}
