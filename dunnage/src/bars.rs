//! What a pull or push is doing: a bar for each layer on a terminal, a line for each step elsewhere.

use std::collections::HashMap;
use std::io::{IsTerminal, Write};
use std::sync::Mutex;

use container_engine::{Digest, Progress};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// The words for the steps of a layer, as Docker has them.
#[derive(Clone, Copy)]
pub(crate) struct Words {
    /// It is known, and nothing is done yet; nothing is said of it in lines if it is empty.
    waiting: &'static str,
    moving: &'static str,
    moved: &'static str,
    exists: &'static str,
    /// What comes after it was moved; none if that was all.
    last: Option<(&'static str, &'static str)>,
}

pub(crate) const PULL: Words = Words {
    waiting: "Pulling fs layer",
    moving: "Downloading",
    moved: "Download complete",
    exists: "Already exists",
    last: Some(("Extracting", "Pull complete")),
};

pub(crate) const PUSH: Words =
    Words { waiting: "", moving: "Pushing", moved: "Pushed", exists: "Layer already exists", last: None };

/// Takes the events of one pull or push; `output` is where lines go.
pub(crate) fn show(
    words: Words,
    output: impl Write + IsTerminal + Send + 'static,
) -> Box<dyn Fn(Progress) + Sync> {
    if output.is_terminal() { Box::new(bars(words)) } else { Box::new(lines(words, output)) }
}

fn lines(words: Words, output: impl Write + Send) -> impl Fn(Progress) + Sync {
    // the layers of which there is more to say
    let state = Mutex::new((output, Vec::<Digest>::new()));
    move |event| {
        let Ok(mut state) = state.lock() else { return };
        let (output, layers) = &mut *state;
        if let Progress::Layers(all) = &event {
            for layer in all {
                if !words.waiting.is_empty() {
                    // a reader that went away does not stop what is going on
                    let _ = writeln!(output, "{}: {}", layer.digest.short(), words.waiting);
                }
                layers.push(layer.digest.clone());
            }
        }
        if let Some((digest, word)) = step(words, &event)
            && layers.contains(digest)
        {
            let _ = writeln!(output, "{}: {word}", digest.short());
            if let Progress::Exists(digest) = &event {
                layers.retain(|layer| layer != digest);
            }
        }
    }
}

/// The layer and the word for a step that is over.
fn step(words: Words, event: &Progress) -> Option<(&Digest, String)> {
    Some(match event {
        Progress::Exists(digest) => (digest, words.exists.to_owned()),
        Progress::Mounted(digest) => (digest, "Mounted from another repository".to_owned()),
        Progress::Done(digest) => (digest, words.moved.to_owned()),
        Progress::Unpacked(digest) => (digest, words.last?.1.to_owned()),
        Progress::Retrying { digest, attempt } => (digest, format!("Retrying, attempt {attempt}")),
        _ => return None,
    })
}

fn bars(words: Words) -> impl Fn(Progress) + Sync {
    let all = MultiProgress::new();
    let bars = Mutex::new(HashMap::<Digest, ProgressBar>::new());
    let style =
        |template| ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    move |event| {
        let Ok(mut bars) = bars.lock() else { return };
        if let Progress::Layers(layers) = &event {
            for layer in layers {
                let bar = all.add(ProgressBar::new(layer.size));
                bar.set_style(style("{prefix}: {msg}"));
                bar.set_prefix(layer.digest.short().to_owned());
                bar.set_message(if words.waiting.is_empty() { "Waiting" } else { words.waiting });
                bars.insert(layer.digest.clone(), bar);
            }
            return;
        }
        if let Progress::Moving { digest, done, total } = &event
            && let Some(bar) = bars.get(digest)
        {
            if bar.position() == 0 {
                bar.set_style(
                    style("{prefix}: {msg} [{bar:40}] {bytes}/{total_bytes}").progress_chars("=> "),
                );
            }
            bar.set_position(*done);
            bar.set_message(if done == total && words.last.is_some() {
                "Verifying Checksum"
            } else {
                words.moving
            });
            return;
        }
        let Some((digest, word)) = step(words, &event) else { return };
        let Some(bar) = bars.get(digest).filter(|bar| !bar.is_finished()) else { return };
        bar.set_style(style("{prefix}: {msg}"));
        match (&event, words.last) {
            (Progress::Retrying { .. }, _) => bar.set_message(word),
            (Progress::Done(_), Some((next, _))) => bar.set_message(next),
            _ => bar.finish_with_message(word),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn each_step_of_a_layer_is_a_line_and_what_is_no_layer_is_none() {
        let digest = |text: &str| -> Digest { format!("sha256:{}", text.repeat(64)).parse().unwrap() };
        let layer = container_engine::Descriptor::new(
            "application/vnd.oci.image.layer.v1.tar".to_owned().into(),
            digest("a"),
            10,
        );
        let kept = Kept::default();
        let show = lines(PULL, kept.clone());
        show(Progress::Layers(vec![layer]));
        show(Progress::Done(digest("b")));
        show(Progress::Moving { digest: digest("a"), done: 10, total: 10 });
        show(Progress::Done(digest("a")));
        show(Progress::Unpacked(digest("a")));
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        assert_eq!(
            text,
            "aaaaaaaaaaaa: Pulling fs layer\naaaaaaaaaaaa: Download complete\naaaaaaaaaaaa: Pull complete\n"
        );
    }
}
