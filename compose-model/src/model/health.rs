//! Whether a service is well, and what it logs to.
use std::time::Duration;

use super::scalar::Options;
use crate::diagnostic::Diagnostic;
use crate::shape::{Reader, Shape, long_only, record};
use crate::yaml::{Node, Value};

record! {
    /// How a container's health is found out.
    Healthcheck, "a health check", {
        /// `CMD` and its words, `CMD-SHELL` and a text, or `NONE`.
        "test" test: Test,
        /// How long one check may take.
        "timeout" timeout: Option<Duration>,
        /// How long until the next check.
        "interval" interval: Option<Duration>,
        /// How many checks must fail.
        "retries" retries: Option<i64>,
        /// How long failures do not count after the start.
        "start_period" start_period: Option<Duration>,
        /// How long until the next check during that time.
        "start_interval" start_interval: Option<Duration>,
        /// Whether the image's check is switched off.
        "disable" disable: Option<bool>,
    }
}

/// The words of a check.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Test(pub Vec<String>);

impl Shape for Test {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let expected = "a command, or a list that begins with `CMD`, `CMD-SHELL` or `NONE`";
        match &node.value {
            Value::Text(text) => Some(Self(vec!["CMD-SHELL".to_owned(), text.clone()])),
            Value::List(_) => {
                let words: Vec<String> = Vec::read(node, reader)?;
                match words.first().map(String::as_str) {
                    Some("CMD" | "CMD-SHELL" | "NONE") | None => {}
                    Some(first) => {
                        let finding = Diagnostic::error(node.span, format!("the list begins with `{first}`"))
                            .expected(expected);
                        reader.report(finding.suggest("write `CMD` before it"));
                    }
                }
                Some(Self(words))
            }
            Value::Null => Some(Self::default()),
            _ => reader.mismatch(node, expected),
        }
    }
    fn write(&self) -> Option<Node> {
        self.0.write()
    }
}

record! {
    /// Where a service's output goes.
    Logging, "`logging`", {
        /// The driver.
        "driver" driver: Option<String>,
        /// Options of the driver.
        "options" options: Options,
    }
}

long_only!(Healthcheck, Logging);
