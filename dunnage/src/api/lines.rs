//! What goes on, told to a client a line of JSON each.

use hyper::body::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::body::wait;

#[derive(Clone)]
pub(super) struct Lines(pub(super) mpsc::Sender<Bytes>);

impl Lines {
    pub(super) fn say(&self, value: &Value) {
        // a client that went away does not stop what is going on
        let _ = wait(self.0.send(format!("{value}\r\n").into()));
    }

    pub(super) fn fail(&self, message: &str) {
        self.say(&json!({ "errorDetail": { "message": message }, "error": message }));
    }
}
