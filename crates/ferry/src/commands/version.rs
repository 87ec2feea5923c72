//! `ferry version`

use crate::Outcome;

pub fn run() -> Outcome {
    println!("ferry {} (Kubernetes {})", env!("CARGO_PKG_VERSION"), apiserver::GIT_VERSION);
    Ok(())
}
