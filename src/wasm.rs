//! Policies in WebAssembly: a module that may compute and nothing else, within fuel and memory.
//!
//! A module has no imports, so it sees what it is handed: a routing policy the same lines that a program reads, an eviction
//! policy ids and sizes. Why this engine: `docs/policies.md`.

mod eviction;
mod router;

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use wasmi::{
    Config, Engine, Instance, Module, Store, StoreLimits, StoreLimitsBuilder, TypedFunc, WasmParams, WasmResults,
};

pub(crate) use self::router::serve;
use crate::cluster::WasmRations;

/// A module that was checked.
#[derive(Debug)]
pub(crate) struct WasmModule {
    /// As it was named.
    name: String,
    module: Module,
    rations: WasmRations,
    /// The first thing that went wrong in any of its instances.
    fault: Mutex<Option<String>>,
}

/// An instance of a module, with what it may use.
struct Sandbox {
    store: Store<StoreLimits>,
    instance: Instance,
    fuel: u64,
}

impl WasmModule {
    /// Reads a module, as binary or as text.
    ///
    /// # Errors
    /// One sentence: there is no such file, it is no module, or it wants to import something.
    pub(crate) fn read(path: &Path, rations: WasmRations) -> Result<Arc<Self>, String> {
        let name = path.display().to_string();
        let bytes = std::fs::read(path).map_err(|error| format!("cannot read {name}: {error}"))?;
        let mut config = Config::default();
        config.consume_fuel(true);
        let module = Module::new(&Engine::new(&config), &bytes)
            .map_err(|error| format!("{name} is no WebAssembly module: {}", first_line(&error.to_string())))?;
        if let Some(import) = module.imports().next() {
            let (from, what) = (import.module(), import.name());
            return Err(format!("{name} imports {from}.{what}, and a policy is given nothing to import"));
        }
        Ok(Arc::new(Self { name, module, rations, fault: Mutex::new(None) }))
    }

    fn instantiate(&self) -> Result<Sandbox, String> {
        let WasmRations { fuel, memory_bytes } = self.rations;
        let limits = StoreLimitsBuilder::new()
            .memory_size(usize::try_from(memory_bytes).unwrap_or(usize::MAX))
            .table_elements(10_000)
            .memories(1)
            .build();
        let mut store = Store::new(self.module.engine(), limits);
        store.limiter(|limits| limits);
        let refuse = |error: wasmi::Error| format!("{}: {error}", self.name);
        store.set_fuel(fuel).map_err(refuse)?;
        let instance = Instance::new(&mut store, &self.module, &[]).map_err(refuse)?;
        Ok(Sandbox { store, instance, fuel })
    }

    /// Remembers what went wrong, if it is the first.
    pub(crate) fn fail(&self, why: &str) {
        let mut fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        fault.get_or_insert_with(|| format!("{}: {why}", self.name));
    }

    /// The first thing that went wrong.
    pub(crate) fn fault(&self) -> Option<String> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Of text that is shown in one sentence.
fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

impl Sandbox {
    /// A function that the module exports.
    fn function<P: WasmParams, R: WasmResults>(&self, name: &str, shape: &str) -> Result<TypedFunc<P, R>, String> {
        let function = self.instance.get_typed_func(&self.store, name);
        function.map_err(|_| format!("it exports no function {name}{shape}"))
    }

    /// Calls it, with a full tank.
    fn call<P: WasmParams, R: WasmResults>(
        &mut self,
        name: &str,
        what: &TypedFunc<P, R>,
        with: P,
    ) -> Result<R, String> {
        let filled = self.store.set_fuel(self.fuel);
        filled.and_then(|()| what.call(&mut self.store, with)).map_err(|error| {
            if error.as_trap_code() == Some(wasmi::TrapCode::OutOfFuel) {
                format!("{name} used up its {} units of fuel", self.fuel)
            } else {
                format!("{name} trapped: {error}")
            }
        })
    }
}
