//! A routing policy in WebAssembly, served as a program is: lines in, lines out.
//!
//! The module exports `memory`, `alloc(length) -> address` and `choose(address, length) -> i64`: the question is written to
//! where `alloc` says, and the answer is read from the upper half of what `choose` returns, as long as its lower half says.

use std::io::{BufRead as _, Write as _};

use wasmi::{Memory, TypedFunc};

use super::{Sandbox, WasmModule};

type Exports = (Memory, TypedFunc<u32, u32>, TypedFunc<(u32, u32), u64>);

fn exports(sandbox: &Sandbox) -> Result<Exports, String> {
    let memory = sandbox.instance.get_memory(&sandbox.store, "memory").ok_or("it exports no memory")?;
    Ok((memory, sandbox.function("alloc", "(i32) -> i32")?, sandbox.function("choose", "(i32, i32) -> i64")?))
}

impl WasmModule {
    /// Whether it can be a routing policy.
    ///
    /// # Errors
    /// One sentence: what it lacks.
    pub(crate) fn check_router(&self) -> Result<(), String> {
        exports(&self.instantiate()?).map(drop).map_err(|why| format!("{}: {why}", self.name))
    }
}

/// Answers until stdin ends.
///
/// # Errors
/// One sentence: the module lacks something, or a call failed.
pub(crate) fn serve(module: &WasmModule) -> Result<(), String> {
    let named = |why: String| format!("{}: {why}", module.name);
    let mut sandbox = module.instantiate()?;
    let (memory, alloc, choose) = exports(&sandbox).map_err(named)?;
    let answer = |sandbox: &mut Sandbox, question: &str| -> Result<Vec<u8>, String> {
        let length = u32::try_from(question.len()).map_err(|error| error.to_string())?;
        let address = sandbox.call("alloc", &alloc, length)?;
        memory
            .write(&mut sandbox.store, address as usize, question.as_bytes())
            .map_err(|_| format!("alloc gave room for {length} bytes at {address}, which is outside of its memory"))?;
        let said = sandbox.call("choose", &choose, (address, length))?;
        let (address, length) = ((said >> 32) as usize, (said & u64::from(u32::MAX)) as usize);
        let all = memory.data(&sandbox.store);
        let answer = address.checked_add(length).and_then(|end| all.get(address..end));
        Ok(answer.ok_or_else(|| format!("choose says {length} bytes at {address}, outside of its memory"))?.to_vec())
    };
    let (mut stdin, mut stdout) = (std::io::stdin().lock(), std::io::stdout().lock());
    let mut line = String::new();
    while stdin.read_line(&mut line).map_err(|error| error.to_string())? > 0 {
        let mut said = answer(&mut sandbox, line.trim_end()).map_err(named)?;
        // One line, whatever it holds.
        said.retain(|&byte| byte != b'\n');
        said.push(b'\n');
        if stdout.write_all(&said).and_then(|()| stdout.flush()).is_err() {
            return Ok(());
        }
        line.clear();
    }
    Ok(())
}
