//! What a client is told when a request is not done.

use container_engine::{Error, ImageError, StartFailure, VolumeError, describe};
use hyper::{Response, StatusCode};
use serde_json::json;

use super::body::{self, Reply};

#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
}

impl Fault {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    pub(crate) fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(crate) fn missing(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    pub(crate) fn response(&self) -> Response<Reply> {
        body::json(self.status, &json!({ "message": self.message }))
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let status = match &error {
            Error::ContainerMissing(_)
            | Error::NetworkMissing(_)
            | Error::FileMissing { .. }
            | Error::Image(ImageError::ImageMissing(_))
            | Error::Volume(VolumeError::NotFound { .. }) => StatusCode::NOT_FOUND,
            Error::ContainerNameTaken { .. }
            | Error::ContainerRunning { .. }
            | Error::ContainerNotRunning(_)
            | Error::NetworkNameTaken(_)
            | Error::Setting { what: "image", .. }
            | Error::Volume(VolumeError::InUse { .. }) => StatusCode::CONFLICT,
            Error::NetworkInUse { .. } | Error::FilesReadOnly { .. } => StatusCode::FORBIDDEN,
            Error::ContainerAmbiguous(_)
            | Error::FileNotDirectory { .. }
            | Error::Setting { .. }
            | Error::NoCommand(_)
            | Error::UserMissing { .. }
            | Error::Start {
                kind: StartFailure::CommandMissing | StartFailure::CommandNotExecutable, ..
            }
            | Error::Runtime(_)
            | Error::Volume(_)
            | Error::Network(_) => StatusCode::BAD_REQUEST,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let message = match &error {
            // docker-py knows it by its capital letter
            Error::Image(ImageError::ImageMissing(name)) => format!("No such image: {name}"),
            error => describe(error),
        };
        Self::new(status, message)
    }
}

impl From<crate::context::Failure> for Fault {
    fn from(failure: crate::context::Failure) -> Self {
        Self::bad(failure.message())
    }
}
