//! Viewer functions, checked: their code is read, and their top level runs.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use cdn_core::functions::{CODE_BYTES_MAX, Function, KeyValues};
use edge_node::{FunctionLimits, Limits, check_function};
use serde::{Deserialize, Serialize};

use super::{Inputs, check_id};
use crate::{cluster_file::ClusterFile, diagnose::KeyError};

/// What the files of a function say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct FunctionText {
    /// Its code.
    pub(crate) code: String,
    /// Its key value store as JSON, where it has one.
    pub(crate) key_values: Option<String>,
}

/// Reads every function.
///
/// # Errors
/// The first that is none.
pub(super) fn functions_of(
    file: &ClusterFile,
    inputs: &Inputs,
    limits: FunctionLimits,
) -> Result<BTreeMap<String, Arc<Function>>, KeyError> {
    let mut functions = BTreeMap::new();
    for name in file.functions.keys() {
        let key = format!("functions.{name}");
        check_id(&key, name)?;
        let nothing = FunctionText::default();
        let text = inputs.functions.get(name).unwrap_or(&nothing);
        if text.code.len() > CODE_BYTES_MAX {
            let bytes = text.code.len();
            return Err(KeyError::new(&format!("{key}.file"), format!("{bytes} bytes of code are too many")).hint(
                format!("CloudFront takes {CODE_BYTES_MAX} bytes: a minifier helps, and so does leaving things out"),
            ));
        }
        let key_values = match &text.key_values {
            Some(text) => Some(Arc::new(key_values_of(&format!("{key}.key_values"), text)?)),
            None => None,
        };
        let function = Function { name: name.clone(), code: text.code.clone(), key_values };
        check_function(&function, limits).map_err(|error| {
            KeyError::new(&format!("{key}.file"), format!("it does not load: {error}"))
                .hint("a function is `function handler(event) { ... return event.request; }`")
        })?;
        functions.insert(name.clone(), Arc::new(function));
    }
    Ok(functions)
}

/// What a call may take in a world that says this.
///
/// # Errors
/// A limit within which nothing could run.
pub(crate) fn function_limits_of(file: &ClusterFile) -> Result<FunctionLimits, KeyError> {
    let default = Limits::default().functions;
    let limits = FunctionLimits {
        time: file.edge.function_time.map_or(default.time, |span| span.0),
        memory_bytes: file
            .edge
            .function_memory
            .map_or(default.memory_bytes, |bytes| usize::try_from(bytes.0).unwrap_or(usize::MAX)),
        origins_bytes: file
            .edge
            .function_origins
            .map_or(default.origins_bytes, |bytes| usize::try_from(bytes.0).unwrap_or(usize::MAX)),
    };
    if limits.time < Duration::from_millis(1) || limits.time > Duration::from_secs(1) {
        return Err(KeyError::new("edge.function_time", "a function has between 1ms and 1s"));
    }
    if limits.memory_bytes < 64 << 10 {
        return Err(KeyError::new("edge.function_memory", "a function needs 64KiB at least"));
    }
    if !(256..=8 << 10).contains(&limits.origins_bytes) {
        let what =
            "what a function says of origins goes to caches behind in a header, and has between 256 bytes and 8KiB";
        return Err(KeyError::new("edge.function_origins", what));
    }
    Ok(limits)
}

/// A key value store in the format that CloudFront imports: `{"data": [{"key": ..., "value": ...}]}`.
///
/// # Errors
/// The text is something else, or larger than CloudFront takes.
pub(crate) fn key_values_of(key: &str, text: &str) -> Result<KeyValues, KeyError> {
    /// Bytes of a store, of a key and of a value (CloudFront's quotas).
    const STORE_BYTES_MAX: usize = 5 << 20;
    const KEY_BYTES_MAX: usize = 512;
    const VALUE_BYTES_MAX: usize = 1024;

    #[derive(Deserialize)]
    struct Store {
        data: Vec<Pair>,
    }
    #[derive(Deserialize)]
    struct Pair {
        key: String,
        value: String,
    }
    let store: Store = serde_json::from_str(text).map_err(|error| {
        KeyError::new(key, format!("the file is no key value store: {error}"))
            .hint(r#"{"data": [{"key": "a", "value": "b"}]}"#)
    })?;
    let bytes: usize = store.data.iter().map(|pair| pair.key.len() + pair.value.len()).sum();
    if bytes > STORE_BYTES_MAX {
        return Err(KeyError::new(key, format!("keys and values have {bytes} bytes, and CloudFront takes 5 MiB")));
    }
    if let Some(pair) =
        store.data.iter().find(|pair| pair.key.len() > KEY_BYTES_MAX || pair.value.len() > VALUE_BYTES_MAX)
    {
        let start: String = pair.key.chars().take(40).collect();
        let what = format!("the pair {start:?} is too large: {KEY_BYTES_MAX} bytes of key, {VALUE_BYTES_MAX} of value");
        return Err(KeyError::new(key, what));
    }
    Ok(store.data.into_iter().map(|pair| (pair.key, pair.value)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cluster::Cluster,
        cluster_file::{BehaviorFile, DistributionFile, EdgeFile, FunctionFile},
        quantity::{ByteCount, Span},
    };

    /// The key that is refused of a world whose default behavior runs `runs`, a function being `code`.
    fn check(code: &str, key_values: Option<&str>, runs: &str) -> Result<(), String> {
        let mut file = ClusterFile::default();
        file.functions.insert("fn".into(), FunctionFile { file: "fn.js".into(), key_values: None });
        let default = BehaviorFile { viewer_request: Some(runs.into()), ..Default::default() };
        file.distributions.insert("demo".into(), DistributionFile { default, ..Default::default() });
        let text = FunctionText { code: code.into(), key_values: key_values.map(str::to_owned) };
        let inputs = Inputs { functions: [("fn".to_owned(), text)].into(), ..Inputs::default() };
        let cluster = Cluster::check(&file, &inputs).map_err(|error| error.key.join("."))?;
        let behavior = cluster.distributions[0].behavior_for("/");
        assert_eq!(behavior.viewer_request().map(|function| function.name.as_str()), Some("fn"));
        Ok(())
    }

    #[test]
    fn what_a_call_may_take_is_within_bounds() {
        let of = |edge: EdgeFile| {
            let limits = function_limits_of(&ClusterFile { edge, ..ClusterFile::default() });
            limits.map(|limits| limits.origins_bytes).map_err(|error| error.key.join("."))
        };
        let said = |bytes| EdgeFile { function_origins: Some(ByteCount(bytes)), ..EdgeFile::default() };
        assert_eq!((of(EdgeFile::default()), of(said(256))), (Ok(4096), Ok(256)));
        for bytes in [255, (8 << 10) + 1] {
            assert_eq!(of(said(bytes)), Err("edge.function_origins".to_owned()));
        }
        let memory = EdgeFile { function_memory: Some(ByteCount(1)), ..EdgeFile::default() };
        assert_eq!(of(memory), Err("edge.function_memory".to_owned()));
        let time = EdgeFile { function_time: Some(Span(Duration::from_secs(2))), ..EdgeFile::default() };
        assert_eq!(of(time), Err("edge.function_time".to_owned()));
    }

    #[test]
    fn a_function_is_checked_before_anything_starts() {
        let fine = "function handler(event) { return event.request; }";
        assert_eq!(check(fine, Some(r#"{"data":[{"key":"a","value":"1"}]}"#), "fn"), Ok(()));
        assert_eq!(check(fine, None, "other"), Err("distributions.demo.default.viewer_request".into()));
        assert_eq!(check(fine, Some("[]"), "fn"), Err("functions.fn.key_values".into()));
        for broken in ["function (", "let a;", "throw 1", "for (;;) {}", &" ".repeat(CODE_BYTES_MAX + 1)] {
            assert_eq!(check(broken, None, "fn"), Err("functions.fn.file".into()), "{broken}");
        }
    }
}
