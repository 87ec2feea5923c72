//! The verbs that most kinds share, in the order in which the suite asks for them.
