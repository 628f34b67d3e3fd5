//! Instructions that change no file.

use container_image::{Empty, Healthcheck as Check};
use dockerfile_parser::{Command, Dockerfile, HealthTest, Healthcheck, Instruction, Kind, Separator, Word};

use crate::Error;
use crate::stage::{Stage, instruction_text};

const SHELL: [&str; 2] = ["/bin/sh", "-c"];

pub(crate) fn shell(stage: &Stage<'_, '_>) -> Vec<String> {
    match &stage.config.shell {
        Some(shell) if !shell.is_empty() => shell.clone(),
        _ => SHELL.map(str::to_owned).to_vec(),
    }
}

/// Words in quotes, as Go's `%q` shows a list.
pub(crate) fn quoted(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    format!("[{}]", words.join(" "))
}

#[allow(clippy::zero_sized_map_values, reason = "the image configuration has maps to empty objects for sets")]
pub(crate) fn apply(
    stage: &mut Stage<'_, '_>,
    file: &Dockerfile,
    instruction: &Instruction,
) -> Result<(), Error> {
    let missing = |what| Error::value(what, "", "an argument is missing");
    let said = match &instruction.kind {
        Kind::Env(pairs) => {
            let mut said = Vec::new();
            let mut set = Vec::new();
            for pair in pairs {
                let (name, value) = (stage.expand(file, &pair.name)?, stage.expand(file, &pair.value)?);
                if name.is_empty() {
                    return Err(Error::value("ENV", value, "the name is empty"));
                }
                said.push(format!("{name}={value}"));
                set.push((name, value));
            }
            for (name, value) in set {
                let text = format!("{name}={value}");
                match stage.config.env.iter_mut().find(|known| known.split('=').next() == Some(&name)) {
                    Some(known) => *known = text,
                    None => stage.config.env.push(text),
                }
                stage.scope.set(name, value);
            }
            format!("ENV {}", said.join(" "))
        }
        Kind::Arg(arguments) => {
            let globals = stage.session.graph.globals();
            stage.scope.apply(file, instruction, globals, stage.session.arguments).map_err(|fault| {
                Error::Expand { word: file.str(fault.span).into_owned(), source: fault.source }
            })?;
            let mut said = Vec::new();
            for argument in arguments {
                let name = argument.name.text(file).into_owned();
                // what ENV has set wins
                let own = stage.config.env.iter().find_map(|known| {
                    known
                        .split_once('=')
                        .filter(|(known, _)| *known == name)
                        .map(|(_, value)| value.to_owned())
                });
                if let Some(value) = own {
                    stage.scope.set(name.clone(), value);
                }
                said.push(match (&argument.default, stage.scope.value(&name)) {
                    (None, None) => name.clone(),
                    (_, value) => format!("{name}={}", value.unwrap_or_default()),
                });
                stage.declared.retain(|known| *known != name);
                stage.declared.push(name);
            }
            format!("ARG {}", said.join(" "))
        }
        Kind::Label(pairs) => {
            let mut said = Vec::new();
            for pair in pairs {
                let (name, value) = (stage.expand(file, &pair.name)?, stage.expand(file, &pair.value)?);
                let sign = if pair.separator == Separator::Equals { '=' } else { ' ' };
                said.push(format!("{name}{sign}{value}"));
                stage.config.labels.insert(name, value);
            }
            format!("LABEL {}", said.join(" "))
        }
        Kind::Cmd(command) => {
            let words = words(stage, file, command);
            let said = format!("CMD {}", quoted(&words));
            stage.config.cmd = Some(words);
            stage.has_cmd = true;
            said
        }
        Kind::Entrypoint(command) => {
            let words = words(stage, file, command);
            let said = format!("ENTRYPOINT {}", quoted(&words));
            stage.config.entrypoint = Some(words);
            if !stage.has_cmd {
                // the base's command was for the base's entrypoint
                stage.config.cmd = None;
            }
            said
        }
        Kind::Expose(ports) => {
            let mut said = Vec::new();
            for word in ports {
                let expanded = stage
                    .scope
                    .expand_words(file, word)
                    .map_err(|source| Error::Expand { word: word.text(file).into_owned(), source })?;
                for text in expanded {
                    for port in exposed(&text)? {
                        stage.config.exposed_ports.insert(port, Empty {});
                    }
                    said.push(text);
                }
            }
            format!("EXPOSE [{}]", said.join(" "))
        }
        Kind::Volume(volume) => {
            let mut said = Vec::new();
            for word in &volume.paths {
                let path = stage.expand(file, word)?;
                if path.trim().is_empty() {
                    return Err(Error::value("VOLUME", path, "it is empty"));
                }
                stage.config.volumes.insert(path.clone(), Empty {});
                said.push(path);
            }
            format!("VOLUME [{}]", said.join(" "))
        }
        Kind::User(word) => {
            let user = required(stage, file, word.as_ref()).ok_or_else(|| missing("USER"))??;
            stage.config.user.clone_from(&user);
            format!("USER {user}")
        }
        Kind::Stopsignal(word) => {
            let signal = required(stage, file, word.as_ref()).ok_or_else(|| missing("STOPSIGNAL"))??;
            stage.config.stop_signal = Some(signal.clone());
            format!("STOPSIGNAL {signal}")
        }
        Kind::Maintainer(word) => {
            let word = word.as_ref().ok_or_else(|| missing("MAINTAINER"))?;
            let author = word.text(file).into_owned();
            stage.author = Some(author.clone());
            format!("MAINTAINER {author}")
        }
        Kind::Shell(words) => {
            let words: Vec<String> = words.iter().map(|word| word.text(file).into_owned()).collect();
            if words.is_empty() {
                return Err(Error::value("SHELL", "", "it must be a JSON array of words"));
            }
            let said = format!("SHELL [{}]", words.join(" "));
            stage.config.shell = Some(words);
            said
        }
        Kind::Healthcheck(check) => {
            let check = healthcheck(stage, file, check)?;
            let said = instruction_text(file, instruction);
            stage.config.healthcheck = Some(check);
            said
        }
        Kind::Onbuild(Some(trigger)) => {
            let text = String::from_utf8_lossy(file.slice(trigger.span)).into_owned();
            stage.config.on_build.push(text.clone());
            format!("ONBUILD {text}")
        }
        Kind::Workdir(_) => return Err(missing("WORKDIR")),
        _ => {
            let word = file.str(instruction.keyword).into_owned();
            return Err(Error::value("instruction", word, "it is not known, or not allowed here"));
        }
    };
    stage.say(said, false);
    Ok(())
}

fn required(stage: &Stage<'_, '_>, file: &Dockerfile, word: Option<&Word>) -> Option<Result<String, Error>> {
    let word = word?;
    match stage.expand(file, word) {
        Ok(text) if text.is_empty() => None,
        other => Some(other),
    }
}

/// A command's words: the shell's before the shell form.
fn words(stage: &Stage<'_, '_>, file: &Dockerfile, command: &Command) -> Vec<String> {
    match command {
        Command::Exec(words) => words.iter().map(|word| word.text(file).into_owned()).collect(),
        Command::Shell(text) | Command::Heredoc(text) => {
            let mut words = shell(stage);
            words.push(text.text(file).into_owned());
            words
        }
        Command::Empty => Vec::new(),
    }
}

fn healthcheck(stage: &Stage<'_, '_>, file: &Dockerfile, check: &Healthcheck) -> Result<Check, Error> {
    let nanoseconds = |duration: std::time::Duration| duration.as_nanos() as u64;
    let time = |valued: &Option<dockerfile_parser::Valued<std::time::Duration>>| {
        valued.as_ref().map_or(0, |valued| nanoseconds(valued.value))
    };
    let test = match &check.test {
        HealthTest::None => vec!["NONE".to_owned()],
        HealthTest::Cmd(Command::Exec(words)) => {
            let words = words.iter().map(|word| word.text(file).into_owned());
            std::iter::once("CMD".to_owned()).chain(words).collect()
        }
        HealthTest::Cmd(Command::Shell(text) | Command::Heredoc(text)) => {
            vec!["CMD-SHELL".to_owned(), text.text(file).into_owned()]
        }
        HealthTest::Cmd(Command::Empty) | HealthTest::Invalid => {
            return Err(Error::value("HEALTHCHECK", "", "it is NONE, or CMD and a command"));
        }
    };
    let _ = stage;
    Ok(Check {
        test,
        interval: time(&check.interval),
        timeout: time(&check.timeout),
        start_period: time(&check.start_period),
        start_interval: time(&check.start_interval),
        retries: check.retries.as_ref().map_or(0, |retries| retries.value),
    })
}

/// The ports that a word of `EXPOSE` means: `80`, `80/udp`, `8000-8002`.
fn exposed(text: &str) -> Result<Vec<String>, Error> {
    let wrong = |reason: &str| Error::value("EXPOSE", text, reason);
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(wrong("the protocol is none of tcp, udp and sctp"));
    }
    let number = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => {
            Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
        }
        _ => Err(wrong("a port is a number between 1 and 65535, or a range of them")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_have_protocols_and_ranges() {
        assert_eq!(exposed("80").unwrap(), ["80/tcp"]);
        assert_eq!(exposed("53/UDP").unwrap(), ["53/udp"]);
        assert_eq!(exposed("8000-8002/sctp").unwrap(), ["8000/sctp", "8001/sctp", "8002/sctp"]);
        for wrong in ["0", "65536", "80/icmp", "3-2", "a", "", "80:80"] {
            assert!(exposed(wrong).is_err(), "{wrong}");
        }
    }
}
