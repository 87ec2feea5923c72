use crate::scene::scenarios;

scenarios! {}
