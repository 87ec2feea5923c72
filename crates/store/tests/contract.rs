//! The reference passes its own contract.

use std::sync::Arc;
use store::{Memory, Store, contract::Harness};

struct InMemory;

impl Harness for InMemory {
    fn open(&mut self) -> Arc<dyn Store> {
        Memory::new()
    }
    fn reopen(&mut self) -> Option<Arc<dyn Store>> {
        None
    }
}

store::contract_suite!(|_| InMemory);
