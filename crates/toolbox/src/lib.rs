//! The multi-call programs inside the demo image.
