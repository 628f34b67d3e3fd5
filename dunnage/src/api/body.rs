//! What comes with requests and answers.

use std::convert::Infallible;
use std::io::{self, Read, Write};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake};
use std::thread::{self, Thread};

use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::{Response, StatusCode, header};
use serde_json::Value;
use tokio::sync::mpsc;

use super::{Fault, PATIENCE};

/// JSON that comes with a request, bytes.
const MOST_JSON: usize = 8 << 20;
/// So much of a body that nobody wants is read, bytes.
const MOST_DISCARDED: usize = 64 << 20;
/// How deep it may be nested is serde_json's own limit, 128.
/// So many pieces of a stream may wait for whoever reads it.
const WAITING: usize = 16;

/// The body of an answer: all of it, or piece by piece.
#[derive(Debug)]
pub(crate) enum Reply {
    Whole(Option<Bytes>),
    Stream(mpsc::Receiver<Bytes>),
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().filter(|bytes| !bytes.is_empty())),
            Self::Stream(pieces) => pieces.poll_recv(context),
        };
        next.map(|piece| piece.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(bytes) if bytes.as_ref().is_none_or(Bytes::is_empty))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}

fn response(status: StatusCode, kind: Option<&'static str>, body: Reply) -> Response<Reply> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    if let Some(kind) = kind {
        response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    }
    response
}

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Response<Reply> {
    response(status, None, Reply::Whole(None))
}

pub(crate) fn json(status: StatusCode, value: &Value) -> Response<Reply> {
    let mut text = value.to_string();
    text.push('\n');
    response(status, Some("application/json"), Reply::Whole(Some(text.into())))
}

pub(crate) fn ok(value: &Value) -> Response<Reply> {
    json(StatusCode::OK, value)
}

/// An answer whose pieces are sent as they come.
pub(crate) fn stream(kind: &'static str) -> (mpsc::Sender<Bytes>, Response<Reply>) {
    let (sender, receiver) = mpsc::channel(WAITING);
    (sender, response(StatusCode::OK, Some(kind), Reply::Stream(receiver)))
}

/// The JSON of a request; nothing is an empty object.
pub(crate) async fn read_json(body: Incoming) -> Result<Value, Fault> {
    let whole = tokio::time::timeout(PATIENCE, Limited::new(body, MOST_JSON).collect()).await;
    let Ok(whole) = whole else {
        let message = format!("the request's body did not come within {PATIENCE:?}");
        return Err(Fault::new(StatusCode::REQUEST_TIMEOUT, message));
    };
    let bytes = match whole {
        Ok(collected) => collected.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            return Err(Fault::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("more than {MOST_JSON} bytes of JSON"),
            ));
        }
        Err(error) => return Err(Fault::bad(format!("the request's body cannot be read: {error}"))),
    };
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(Value::Object(serde_json::Map::new()));
    }
    serde_json::from_slice(&bytes)
        .map_err(|error| Fault::bad(format!("the request's body is no JSON: {error}")))
}

/// Waits in a thread that may block, and that runs a call of the engine: the runtime's own ways of waiting refuse that.
pub(super) fn wait<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Arc::new(Unpark(thread::current())).into();
    let mut context = Context::from_waker(&waker);
    // the budget of the task around it is not this one's
    let mut future = pin!(tokio::task::unconstrained(future));
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park(),
        }
    }
}

/// The body of a request, for code that reads and may block.
pub(crate) struct Upload {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    rest: Bytes,
}

/// Takes a body and throws it away, so that a client that sends it hears the answer; not without end.
pub(crate) async fn discard(body: Incoming) {
    let _ = tokio::time::timeout(PATIENCE, async {
        let mut body = Limited::new(body, MOST_DISCARDED);
        while let Some(Ok(_)) = body.frame().await {}
    })
    .await;
}

pub(crate) fn upload(mut body: Incoming) -> Upload {
    let (sender, pieces) = mpsc::channel(WAITING);
    tokio::task::spawn_local(async move {
        while let Some(frame) = body.frame().await {
            let piece = match frame {
                Ok(frame) => match frame.into_data() {
                    Ok(bytes) => Ok(bytes),
                    Err(_) => continue,
                },
                Err(error) => Err(io::Error::other(error)),
            };
            let failed = piece.is_err();
            if sender.send(piece).await.is_err() || failed {
                return;
            }
        }
    });
    Upload { pieces, rest: Bytes::new() }
}

impl Read for Upload {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match wait(self.pieces.recv()) {
                Some(piece) => self.rest = piece?,
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.rest.len());
        buffer[..count].copy_from_slice(&self.rest.split_to(count));
        Ok(count)
    }
}

/// The body of an answer, for code that writes and may block.
pub(crate) struct Download(pub(crate) mpsc::Sender<Bytes>);

impl Write for Download {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        wait(self.0.send(Bytes::copy_from_slice(bytes))).map_err(gone)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
