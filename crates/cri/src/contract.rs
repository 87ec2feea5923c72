//! What every runtime must do, as code: run [`all`] on an implementation.
