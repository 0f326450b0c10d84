//! An eviction policy in WebAssembly, in a cache that is replayed through.
//!
//! The module exports `on_insert(id, size)`, `on_hit(id, size)` and `evict() -> id`, all of 64 bits. As in our own caches an
//! object that is larger than the cache is not admitted, and `evict` is called until the newcomer fits; an object that it
//! named is gone.

use std::{collections::HashMap, fmt, sync::Arc};

use simulator::replay::{Replay, Tally};
use wasmi::TypedFunc;
use world::trace::Record;

use super::{Sandbox, WasmModule};

/// See the module.
struct Cache {
    module: Arc<WasmModule>,
    sandbox: Sandbox,
    on_insert: TypedFunc<(u64, u64), ()>,
    on_hit: TypedFunc<(u64, u64), ()>,
    evict: TypedFunc<(), u64>,
    /// Sizes by id.
    stored: HashMap<u64, u64>,
    bytes: u64,
    bytes_max: u64,
    tally: Tally,
    /// Something went wrong, and what comes out is worth nothing.
    has_failed: bool,
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("module", &self.module.name).field("tally", &self.tally).finish_non_exhaustive()
    }
}

impl WasmModule {
    /// An empty cache of so many bytes, with a policy of its own. What goes wrong later is in [`fault`](Self::fault).
    ///
    /// # Errors
    /// The module lacks something.
    pub(crate) fn cache(self: &Arc<Self>, bytes_max: u64) -> Result<Box<dyn Replay>, String> {
        let named = |why: String| format!("{}: {why}", self.name);
        let sandbox = self.instantiate()?;
        Ok(Box::new(Cache {
            on_insert: sandbox.function("on_insert", "(i64, i64)").map_err(named)?,
            on_hit: sandbox.function("on_hit", "(i64, i64)").map_err(named)?,
            evict: sandbox.function("evict", "() -> i64").map_err(named)?,
            module: Arc::clone(self),
            sandbox,
            stored: HashMap::new(),
            bytes: 0,
            bytes_max,
            tally: Tally::default(),
            has_failed: false,
        }))
    }
}

impl Cache {
    fn ask(&mut self, id: u64, bytes: u64, admits: &mut dyn FnMut() -> bool) -> Result<bool, String> {
        if let Some(&stored) = self.stored.get(&id) {
            self.sandbox.call("on_hit", &self.on_hit, (id, stored))?;
            return Ok(true);
        }
        if !admits() || bytes > self.bytes_max {
            return Ok(false);
        }
        while self.bytes > self.bytes_max - bytes {
            let victim = self.sandbox.call("evict", &self.evict, ())?;
            let gone =
                self.stored.remove(&victim).ok_or_else(|| format!("evict named {victim}, which is not stored"))?;
            self.bytes -= gone;
        }
        self.sandbox.call("on_insert", &self.on_insert, (id, bytes))?;
        self.stored.insert(id, bytes);
        self.bytes += bytes;
        Ok(false)
    }
}

impl Replay for Cache {
    fn request(&mut self, id: u64, bytes: u64) -> bool {
        self.request_where(id, bytes, &mut || true)
    }

    fn request_where(&mut self, id: u64, bytes: u64, admits: &mut dyn FnMut() -> bool) -> bool {
        if self.has_failed {
            return false;
        }
        let hit = self.ask(id, bytes, admits).unwrap_or_else(|why| {
            self.has_failed = true;
            self.module.fail(&format!("request {}: {why}", self.tally.requests + 1));
            false
        });
        self.tally.count(hit, bytes);
        hit
    }

    fn feed(&mut self, records: &[Record]) {
        for &Record { id, bytes, .. } in records {
            self.request(id, bytes);
        }
    }

    fn tally(&self) -> Tally {
        self.tally
    }
}

#[cfg(test)]
mod tests {
    use cdn_core::eviction::EvictionPolicy;
    use proptest::prelude::*;

    use super::*;
    use crate::cluster::WasmRations;

    fn module(text: &str) -> Result<Arc<WasmModule>, String> {
        let file = tempfile::Builder::new().suffix(".wat").tempfile().unwrap();
        std::fs::write(file.path(), text).unwrap();
        WasmModule::read(file.path(), WasmRations::default())
    }

    fn example() -> Arc<WasmModule> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/policies/fifo.wat");
        WasmModule::read(path.as_ref(), WasmRations::default()).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn the_example_is_fifo_and_so_is_ours(requests in prop::collection::vec((0u64..30, 1u64..6), 1..400)) {
            let mut ours = simulator::replay::replay(EvictionPolicy::Fifo, 40);
            let module = example();
            let mut theirs = module.cache(40).unwrap();
            for (id, bytes) in requests {
                prop_assert_eq!(ours.request(id, bytes), theirs.request(id, bytes));
            }
            prop_assert_eq!(ours.tally(), theirs.tally());
            prop_assert_eq!(module.fault(), None);
        }
    }

    #[test]
    fn a_bad_module_is_one_clear_error() {
        let exports = |evict: &str| {
            format!(
                "(module (memory 1) (func (export \"on_insert\") (param i64 i64)) (func (export \"on_hit\") (param i64 i64)) \
                 (func (export \"evict\") (result i64) {evict}))"
            )
        };
        for (text, why) in [
            ("not a module", "is no WebAssembly module"),
            ("(module (import \"env\" \"now\" (func)))", "imports env.now"),
            ("(module (memory 5000))", "memory"),
            ("(module)", "exports no function on_insert(i64, i64)"),
        ] {
            let said = module(text).and_then(|module| module.cache(1).map(drop)).expect_err(text);
            assert!(said.contains(why), "{text}: {said}");
        }
        for (evict, why) in [
            ("i64.const 7", "request 2: evict named 7, which is not stored"),
            ("(loop br 0) i64.const 0", "request 2: evict used up its 10000000 units of fuel"),
            ("unreachable", "request 2: evict trapped: "),
        ] {
            let module = module(&exports(evict)).unwrap();
            let mut cache = module.cache(1).unwrap();
            assert!(!cache.request(1, 1) && cache.request(1, 1) && module.fault().is_none());
            let mut cache = module.cache(1).unwrap();
            assert!(!cache.request(1, 1) && !cache.request(2, 1) && !cache.request(3, 1));
            let said = module.fault().unwrap();
            assert!(said.contains(why), "{said}");
        }
    }
}
