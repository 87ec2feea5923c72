//! Tables of expressions over the whole crate, as one program: they share the table's code and link once.

mod costs;
mod faults;
mod language;
mod libraries;
mod nothing_panics;
mod schemas;
mod table;
