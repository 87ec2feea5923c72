//! One error for the seam. Nobody retries inside the seam; the kubelet decides by variant: `Unavailable` and
//! `DeadlineExceeded` are worth another try, the others report what is wrong with the request or the machine.

use std::fmt;

/// The result of every call of the seam.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a runtime or an image service can refuse. Each message names the object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// No such sandbox, container or image.
    NotFound(String),
    /// The name (pod, container, attempt) is taken.
    AlreadyExists(String),
    /// The request cannot be carried out as it stands: a bad path, an unknown user, a bad profile.
    InvalidArgument(String),
    /// The object is in a state that forbids the call: exec into a container that does not run.
    FailedPrecondition(String),
    /// The runtime cannot be reached at present; the same call may succeed later.
    Unavailable(String),
    /// The time given with the call is over; what was started has been killed.
    DeadlineExceeded(String),
    /// The process of a container could not be started; the container counts as exited with code 128 and this message.
    Start(String),
    /// An image could not be had, with the reason that shows in `status.containerStatuses[].state.waiting.reason`.
    Image(ImageReason, String),
    /// Anything else: the kernel or the disk refused.
    Internal(String),
}

/// Why an image is not there. Names are upstream's (`pkg/kubelet/images/types.go`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ImageReason {
    /// The pull failed: not found, no right, a broken layer.
    ErrImagePull,
    /// The pull failed and is being delayed.
    ImagePullBackOff,
    /// The image is absent and the policy forbids pulling.
    ErrImageNeverPull,
    /// The reference cannot be parsed.
    InvalidImageName,
    /// The registry cannot be reached.
    RegistryUnavailable,
    /// The image is there but cannot be read.
    ImageInspectError,
    /// The signature did not match.
    SignatureValidationFailed,
}

impl ImageReason {
    /// The reason as it stands in a pod's status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ErrImagePull => "ErrImagePull",
            Self::ImagePullBackOff => "ImagePullBackOff",
            Self::ErrImageNeverPull => "ErrImageNeverPull",
            Self::InvalidImageName => "InvalidImageName",
            Self::RegistryUnavailable => "RegistryUnavailable",
            Self::ImageInspectError => "ImageInspectError",
            Self::SignatureValidationFailed => "SignatureValidationFailed",
        }
    }
}

impl Error {
    /// An [`Error::Internal`] from anything that can be shown, with what was being done: `object: cause`.
    pub fn internal(what: impl fmt::Display, cause: impl fmt::Display) -> Self {
        Self::Internal(format!("{what}: {cause}"))
    }

    /// True for [`Error::NotFound`]: removing what is gone is success.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound(_))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound(m)
            | Self::AlreadyExists(m)
            | Self::InvalidArgument(m)
            | Self::FailedPrecondition(m)
            | Self::Unavailable(m)
            | Self::DeadlineExceeded(m)
            | Self::Start(m)
            | Self::Internal(m) => f.write_str(m),
            Self::Image(reason, m) => write!(f, "{}: {m}", reason.as_str()),
        }
    }
}

impl std::error::Error for Error {}
