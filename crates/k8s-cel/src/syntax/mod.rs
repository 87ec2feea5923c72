//! From text to tree: lexer, parser, macros.

pub mod ast;
mod lexer;
mod literals;
mod macros;
mod parser;
mod primary;

pub use parser::{Parsed, parse};
