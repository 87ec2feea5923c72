//! The shapes that names, labels and keys must have, with upstream's messages.
