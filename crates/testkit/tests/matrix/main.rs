//! Every verb on every kind of the catalog, built-in or custom, through a real client. A new kind joins by existing.

mod apply;
mod encodings;
mod guards;
mod initial;
mod reads;
mod samples;
mod subject;
mod tree;
mod writes;
