//! Errors as the API tells them: a status, a code to program against, a message to read.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};

use super::json;

/// Why a request was not served. Internals are logged, not told.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// A value that cannot be used.
    #[error("{0}")]
    Invalid(String),
    /// Not possible in the present state.
    #[error("{0}")]
    Conflict(String),
    /// The service is starting or stopping.
    #[error("not ready: {0}")]
    NotReady(String),
    /// The database did not answer as it should.
    #[error("the database cannot be read at the moment")]
    Store(#[from] store::Error),
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let (status, code) = match &self {
            Self::NotFound(_) => (StatusCode::NOT_FOUND, "not_found"),
            Self::Invalid(_) => (StatusCode::UNPROCESSABLE_ENTITY, "invalid"),
            Self::Conflict(_) => (StatusCode::CONFLICT, "conflict"),
            Self::NotReady(_) => (StatusCode::SERVICE_UNAVAILABLE, "not_ready"),
            Self::Store(error) => {
                tracing::error!(error = ?error, "request failed");
                let status = if error.is_transient() {
                    StatusCode::SERVICE_UNAVAILABLE
                } else {
                    StatusCode::INTERNAL_SERVER_ERROR
                };
                (status, "database")
            }
        };
        let body = json::Failure {
            error: json::FailureBody {
                code,
                message: self.to_string(),
            },
        };
        (status, Json(body)).into_response()
    }
}
