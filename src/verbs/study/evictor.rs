//! Who decides what goes from a full cache: a policy of ours, or a module of WebAssembly.

use std::{path::Path, sync::Arc};

use cdn_core::eviction::EvictionPolicy;
use simulator::replay::{Replay, replay};

use crate::{cluster::WasmRations, policy_program::WASM, wasm::WasmModule};

/// See the module.
#[derive(Clone, Debug)]
pub(super) enum Evictor {
    /// One of ours.
    Own(EvictionPolicy),
    /// A module: as it was named, [`WASM`] included.
    Wasm(String, Arc<WasmModule>),
}

impl Evictor {
    /// Reads a module, whose file is looked for from `dir` on, and sees that it can be an eviction policy.
    ///
    /// # Errors
    /// One sentence.
    pub(super) fn wasm(file: &str, dir: &Path) -> Result<Self, String> {
        let module = WasmModule::read(&dir.join(file), WasmRations::default())?;
        module.cache(0)?;
        Ok(Self::Wasm(format!("{WASM}{file}"), module))
    }

    /// The name in tables.
    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Own(policy) => policy.as_str(),
            Self::Wasm(name, _) => name,
        }
    }

    /// An empty cache of so many bytes.
    pub(super) fn begin(&self, bytes: u64) -> Box<dyn Replay> {
        match self {
            Self::Own(policy) => replay(*policy, bytes),
            Self::Wasm(_, module) => module.cache(bytes).unwrap_or_else(|why| {
                module.fail(&why);
                // Nothing that comes out is shown.
                replay(EvictionPolicy::Fifo, 0)
            }),
        }
    }

    /// What went wrong; what came out is worth nothing then.
    pub(super) fn fault(&self) -> Option<String> {
        match self {
            Self::Own(_) => None,
            Self::Wasm(_, module) => module.fault(),
        }
    }
}

impl PartialEq for Evictor {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}
