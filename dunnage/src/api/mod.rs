//! `dunnage daemon`: the Docker Engine API on a unix socket, over the same engine that the command line uses.
//!
//! Ending it stops no container: it is one more client of the engine. Versions 1.24 to 1.51 are answered alike. What a request asks for and
//! the engine has not is refused with its name, never passed over.

mod archive;
mod attach;
mod auth;
mod body;
mod build;
mod container;
mod create;
mod exec;
mod fault;
mod image;
mod lines;
mod listen;
mod network;
mod query;
mod route;
mod shape;
mod system;
mod volume;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use container_engine::{Attachment, Engine};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, oneshot};

pub(crate) use self::body::Reply;
pub(crate) use self::fault::Fault;
pub(crate) use self::listen::listen;

/// The newest version that is spoken, and the oldest.
pub(crate) const VERSION: &str = "1.51";
pub(crate) const OLDEST: &str = "1.24";
/// How long a client may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(30);
/// Connections at once; a further one waits.
const CONNECTIONS: usize = 1024;
/// Of a request's head, bytes.
const HEAD: usize = 64 << 10;

/// What all connections share.
pub(crate) struct Server {
    pub(crate) engine: Arc<Engine>,
    /// Clients that wait for a container to start, by its id.
    waiting: RefCell<HashMap<String, Vec<oneshot::Sender<Attachment>>>>,
    execs: RefCell<HashMap<String, exec::Exec>>,
}

impl Server {
    pub(crate) fn new(engine: Engine) -> Rc<Self> {
        Rc::new(Self { engine: Arc::new(engine), waiting: RefCell::default(), execs: RefCell::default() })
    }

    /// Runs a call of the engine where it may block.
    pub(crate) async fn call<T, F>(
        &self,
        work: impl FnOnce(Arc<Engine>) -> F + Send + 'static,
    ) -> Result<T, Fault>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, container_engine::Error>>,
    {
        let engine = Arc::clone(&self.engine);
        let runtime = tokio::runtime::Handle::current();
        let done = tokio::task::spawn_blocking(move || runtime.block_on(work(engine))).await;
        Ok(done.map_err(|_| Fault::internal("the call was given up"))??)
    }

    /// Serves whoever connects, until `ended`.
    pub(crate) async fn serve(self: &Rc<Self>, listener: UnixListener, ended: impl Future<Output = ()>) {
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        let mut ended = std::pin::pin!(ended);
        loop {
            let accepted = tokio::select! {
                () = &mut ended => return,
                accepted = listener.accept() => accepted,
            };
            // one that is gone again, or no descriptor left for the moment
            let Ok((stream, _)) = accepted else {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            };
            let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
            let server = Rc::clone(self);
            tokio::task::spawn_local(async move {
                server.connection(stream).await;
                drop(place);
            });
        }
    }

    async fn connection(self: Rc<Self>, stream: UnixStream) {
        let service = service_fn(move |request: Request<Incoming>| {
            let server = Rc::clone(&self);
            async move { Ok::<Response<Reply>, std::convert::Infallible>(route::answer(server, request).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(PATIENCE)
            .max_buf_size(HEAD)
            .half_close(true)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        // a client that went away is nobody to tell
        let _ = connection.await;
    }
}
