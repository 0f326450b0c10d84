//! One viewer function in an engine of its own: QuickJS, with nothing in reach but what the prelude gives it.
//!
//! An [`Instance`] is for one call. CloudFront keeps nothing of a function from one call to the next, and neither do we:
//! the next call has another. Knows no HTTP, and nothing of the node.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::OnceLock,
    time::Duration,
};

use cdn_core::functions::{Function as FunctionCode, FunctionInvalid, Trigger};
use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER, HEXLOWER_PERMISSIVE};
use hmac::Hmac;
use md5::Md5;
use rquickjs::{
    CatchResultExt as _, CaughtError, Context, Ctx, Error, Exception, Function, Module, Object, Persistent, Runtime,
    Value,
    context::intrinsic,
    loader::{BuiltinLoader, BuiltinResolver},
    promise::MaybePromise,
};
use rustix::time::{ClockId, clock_gettime};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use super::origins::OriginChanges;

/// What surrounds a function's own code.
const PRELUDE: &str = include_str!("prelude.js");

/// Puts the handler where it can be found; the newline ends a comment in the last line of the code.
const EPILOGUE: &str = "\n;globalThis.handler = handler;";

/// What functions may import; each re-exports what `require` gives.
const MODULES: [(&str, &str); 4] = [
    ("buffer", "const it = require('buffer'); export default it; export const Buffer = it.Buffer;"),
    ("cloudfront", "export default require('cloudfront');"),
    ("crypto", "const it = require('crypto'); export default it; export const { createHash, createHmac } = it;"),
    (
        "querystring",
        "const it = require('querystring'); export default it; \
         export const { parse, stringify, escape, unescape, decode, encode } = it;",
    ),
];

/// Bytes of output that are kept of one call; CloudFront truncates at the same.
const LOG_BYTES_MAX: usize = 10 * 1024;

/// Bytes of the engine's own stack, well within that of the thread it runs on.
const STACK_BYTES: usize = 256 << 10;

/// What one call of a function may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunctionLimits {
    /// Processor time. CloudFront allows less than a millisecond on machines that nobody else can have; what a call took
    /// is told as a share of this.
    pub time: Duration,
    /// Bytes beyond those of an engine in which nothing has run.
    pub memory_bytes: usize,
    /// Bytes of all that it may say of the origins for its request (`edge_function_origins_full_total`): they travel in a
    /// header to the caches between. Not CloudFront's.
    pub origins_bytes: usize,
}

/// Why a function gave nothing to go on with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FunctionError {
    /// It threw, or is no function. With what it said.
    #[error("{0}")]
    Failed(String),
    /// It took more processor time than it may.
    #[error("the function ran for longer than it may")]
    OutOfTime,
    /// It wanted more memory than it may have.
    #[error("the function wanted more memory than it may have")]
    OutOfMemory,
    /// It returned what is not valid.
    #[error("{0}")]
    Invalid(#[from] FunctionInvalid),
    /// As many calls as allowed already wait.
    #[error("as many calls of functions as allowed already wait")]
    Throttled,
}

/// What a call came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionRun {
    /// What the function returned, as JSON.
    pub returned: Result<String, FunctionError>,
    /// What it said of the origins for its request.
    pub origins: OriginChanges,
    /// What it wrote with `console.log`, one line each.
    pub log: Vec<String>,
    /// Processor time that it took.
    pub took: Duration,
}

/// A function that is ready to be called once.
pub(crate) struct Instance {
    // Before its context and its runtime, as the engine wants it.
    prepare: Persistent<Function<'static>>,
    context: Context,
    _runtime: Runtime,
    meter: Rc<Meter>,
    log: Rc<RefCell<Log>>,
    /// Milliseconds since 1970.
    now: Rc<Cell<f64>>,
    origins: Rc<RefCell<Origins>>,
}

/// What is said of origins, and whether it may be.
#[derive(Debug, Default)]
struct Origins {
    changes: OriginChanges,
    /// What the handler is called for, and [`FunctionLimits::origins_bytes`]; `None` until it is called.
    of: Option<(Trigger, usize)>,
}

impl Origins {
    fn change(&mut self, method: &str, arguments: &str) -> Result<(), String> {
        match self.of {
            Some((Trigger::ViewerRequest, bytes_max)) => self.changes.push(method, arguments, bytes_max),
            Some((Trigger::ViewerResponse, _)) => Err("it is for viewer-request functions alone".to_owned()),
            None => Err("it is for a request, and there is none outside of the handler".to_owned()),
        }
    }
}

/// Whether a call has had its time: of the processor, so that a busy machine fails nobody.
#[derive(Debug, Default)]
struct Meter {
    end: Cell<Duration>,
    is_over: Cell<bool>,
}

impl Meter {
    fn start(&self, limit: Duration) {
        self.end.set(processor_time() + limit);
    }

    fn check(&self) -> bool {
        let is_over = processor_time() > self.end.get();
        self.is_over.set(self.is_over.get() || is_over);
        is_over
    }
}

/// What this thread has had of the processor.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let secs = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(secs, u32::try_from(time.tv_nsec).unwrap_or_default())
}

impl Instance {
    /// Reads the code and runs its top level.
    pub(crate) fn new(function: &FunctionCode, limits: FunctionLimits) -> Result<Self, FunctionError> {
        let failed = |error: Error| FunctionError::Failed(error.to_string());
        let runtime = Runtime::new().map_err(failed)?;
        runtime.set_max_stack_size(STACK_BYTES);
        let mut resolver = BuiltinResolver::default();
        let mut loader = BuiltinLoader::default();
        for (name, source) in MODULES {
            resolver.add_module(name);
            loader.add_module(name, source);
        }
        runtime.set_loader(resolver, loader);
        let context = Context::custom::<(
            intrinsic::Date,
            intrinsic::Eval,
            intrinsic::RegExpCompiler,
            intrinsic::RegExp,
            intrinsic::Json,
            intrinsic::Proxy,
            intrinsic::MapSet,
            intrinsic::TypedArrays,
            intrinsic::Promise,
        )>(&runtime)
        .map_err(failed)?;
        let meter = Rc::<Meter>::default();
        meter.start(limits.time);
        let metered = Rc::clone(&meter);
        runtime.set_interrupt_handler(Some(Box::new(move || metered.check())));
        let (log, now, origins) = <(Rc<RefCell<Log>>, Rc<Cell<f64>>, Rc<RefCell<Origins>>)>::default();
        let prepare = within(&context, &meter, |ctx| {
            let prelude: Function<'_> = ctx.eval(PRELUDE)?;
            let natives = natives(ctx, function, &log, &now, &origins)?;
            Ok(Persistent::save(ctx, prelude.call::<_, Function<'_>>((natives,))?))
        })?;
        let instance = Self { prepare, context, _runtime: runtime.clone(), meter, log, now, origins };
        // An engine in which nothing has run has always the same size, and to ask for it takes a while.
        static BASE_BYTES: OnceLock<usize> = OnceLock::new();
        let base = BASE_BYTES.get_or_init(|| usize::try_from(runtime.memory_usage().malloc_size).unwrap_or_default());
        runtime.set_memory_limit(base.saturating_add(limits.memory_bytes));
        instance.within(|ctx| {
            let code = format!("{}{EPILOGUE}", function.code);
            Module::evaluate(ctx.clone(), function.name.as_str(), code)?.finish::<()>()
        })?;
        Ok(instance)
    }

    /// Calls the handler with an event, at `now` in milliseconds since 1970.
    pub(crate) fn call(self, event: &str, now: f64, limits: FunctionLimits) -> FunctionRun {
        self.now.set(now);
        let began = processor_time();
        self.meter.start(limits.time);
        let returned = self.within(|ctx| {
            let prepare = self.prepare.clone().restore(ctx)?;
            let event = ctx.json_parse(event)?;
            let is_response: bool = prepare.call((event.clone(),))?;
            let trigger = if is_response { Trigger::ViewerResponse } else { Trigger::ViewerRequest };
            self.origins.borrow_mut().of = Some((trigger, limits.origins_bytes));
            let handler: Function<'_> = ctx.globals().get("handler")?;
            let returned: MaybePromise<'_> = handler.call((event,))?;
            let returned: Value<'_> = returned.finish()?;
            ctx.json_stringify(returned)?.map(|text| text.to_string()).transpose()
        });
        let nothing = || FunctionInvalid::Shape("the function returned nothing".into());
        let returned = returned.and_then(|returned| Ok(returned.ok_or_else(nothing)?));
        let took = processor_time().saturating_sub(began);
        let origins = std::mem::take(&mut self.origins.borrow_mut().changes);
        FunctionRun { returned, origins, log: std::mem::take(&mut self.log.borrow_mut().lines), took }
    }

    /// Does something in the engine, and says in our words what went wrong there.
    fn within<T>(&self, act: impl for<'js> FnOnce(&Ctx<'js>) -> rquickjs::Result<T>) -> Result<T, FunctionError> {
        within(&self.context, &self.meter, act)
    }
}

/// See [`Instance::within`].
fn within<T>(
    context: &Context,
    meter: &Meter,
    act: impl for<'js> FnOnce(&Ctx<'js>) -> rquickjs::Result<T>,
) -> Result<T, FunctionError> {
    context.with(|ctx| {
        let error = match act(&ctx).catch(&ctx) {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        if meter.is_over.get() {
            return Err(FunctionError::OutOfTime);
        }
        let said = match error {
            CaughtError::Error(Error::Allocation) => return Err(FunctionError::OutOfMemory),
            CaughtError::Error(Error::WouldBlock) => "the promise that it returned is never settled".to_owned(),
            CaughtError::Error(error) => error.to_string(),
            CaughtError::Exception(exception) => {
                let message = exception.message().unwrap_or_default();
                if message == "out of memory" {
                    return Err(FunctionError::OutOfMemory);
                }
                let name: String = exception.get("name").unwrap_or_default();
                let place = exception.stack().unwrap_or_default();
                let place = place.lines().next().map(|line| format!(" {}", line.trim())).unwrap_or_default();
                format!("{name}: {message}{place}")
            }
            // Where there is no memory for an exception the engine throws null.
            CaughtError::Value(value) if value.is_null() => return Err(FunctionError::OutOfMemory),
            CaughtError::Value(value) => format!("it threw {}", describe(&ctx, value)),
        };
        Err(FunctionError::Failed(said))
    })
}

/// What the prelude is handed.
fn natives<'js>(
    ctx: &Ctx<'js>,
    function: &FunctionCode,
    log: &Rc<RefCell<Log>>,
    now: &Rc<Cell<f64>>,
    origins: &Rc<RefCell<Origins>>,
) -> rquickjs::Result<Object<'js>> {
    let natives = Object::new(ctx.clone())?;
    let now = Rc::clone(now);
    natives.set("now", Function::new(ctx.clone(), move || now.get())?)?;
    let log = Rc::clone(log);
    natives.set("log", Function::new(ctx.clone(), move |line: String| log.borrow_mut().push(line))?)?;
    natives.set("encode", Function::new(ctx.clone(), encode)?)?;
    natives.set("decode", Function::new(ctx.clone(), decode)?)?;
    natives.set("digest", Function::new(ctx.clone(), digest)?)?;
    let store = function.key_values.clone();
    natives.set("hasStore", store.is_some())?;
    natives.set("storeSize", store.as_ref().map_or(0, |store| store.len()))?;
    let lookup = move |key: String| store.as_ref().and_then(|store| store.get(&key).cloned());
    natives.set("lookup", Function::new(ctx.clone(), lookup)?)?;
    let origins = Rc::clone(origins);
    let change = move |ctx: Ctx<'_>, method: String, arguments: String| {
        let said = origins.borrow_mut().change(&method, &arguments);
        said.map_err(|why| Exception::throw_type(&ctx, &format!("cf.{method}(): {why}")))
    };
    natives.set("changeOrigin", Function::new(ctx.clone(), change)?)?;
    Ok(natives)
}

/// A thrown value that is no `Error`, for people.
fn describe<'js>(ctx: &Ctx<'js>, value: Value<'js>) -> String {
    let text = ctx.json_stringify(value).ok().flatten();
    text.and_then(|text| text.to_string().ok()).unwrap_or_else(|| "a value".into())
}

/// What a call wrote, up to the limit.
#[derive(Debug, Default)]
struct Log {
    lines: Vec<String>,
    bytes: usize,
}

impl Log {
    fn push(&mut self, mut line: String) {
        let mut end = LOG_BYTES_MAX.saturating_sub(self.bytes).min(line.len());
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        line.truncate(end);
        if !line.is_empty() {
            self.bytes += line.len();
            self.lines.push(line);
        }
    }
}

/// Bytes as text.
fn encode(ctx: Ctx<'_>, bytes: Vec<u8>, encoding: String) -> rquickjs::Result<String> {
    Ok(match encoding.as_str() {
        "utf8" | "utf-8" => String::from_utf8_lossy(&bytes).into_owned(),
        "hex" => HEXLOWER.encode(&bytes),
        "base64" => BASE64.encode(&bytes),
        "base64url" => BASE64URL_NOPAD.encode(&bytes),
        "latin1" | "binary" | "ascii" => bytes.into_iter().map(char::from).collect(),
        _ => return Err(Exception::throw_type(&ctx, &format!("there is no encoding {encoding:?}"))),
    })
}

/// Text as bytes. Base64 is read up to its first foreign character, in either alphabet, with or without padding.
fn decode(ctx: Ctx<'_>, text: String, encoding: String) -> rquickjs::Result<Vec<u8>> {
    Ok(match encoding.as_str() {
        "utf8" | "utf-8" => text.into_bytes(),
        "hex" => HEXLOWER_PERMISSIVE
            .decode(text.as_bytes())
            .map_err(|_| Exception::throw_type(&ctx, "that is not hexadecimal"))?,
        "base64" | "base64url" => {
            let url_alphabet = |byte: u8| match byte {
                b'+' => b'-',
                b'/' => b'_',
                other => other,
            };
            let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            let mut digits: Vec<u8> = text.bytes().map(url_alphabet).take_while(is_digit).collect();
            // One digit alone says nothing.
            if digits.len() % 4 == 1 {
                digits.pop();
            }
            let mut decoder = BASE64URL_NOPAD.specification();
            decoder.check_trailing_bits = false;
            let decoder = decoder.encoding().map_err(|_| Error::Unknown)?;
            decoder.decode(&digits).unwrap_or_default()
        }
        "latin1" | "binary" | "ascii" => text.chars().map(|char| char as u32 as u8).collect(),
        _ => return Err(Exception::throw_type(&ctx, &format!("there is no encoding {encoding:?}"))),
    })
}

/// The hash of `data`, keyed where there is a key (HMAC, RFC 2104).
fn digest(ctx: Ctx<'_>, algorithm: String, key: Option<Vec<u8>>, data: Vec<u8>) -> rquickjs::Result<Vec<u8>> {
    Ok(match (algorithm.as_str(), key) {
        ("md5", None) => Md5::digest(data).to_vec(),
        ("sha1", None) => Sha1::digest(data).to_vec(),
        ("sha256", None) => Sha256::digest(data).to_vec(),
        ("md5", Some(key)) => keyed::<Hmac<Md5>>(&key, &data),
        ("sha1", Some(key)) => keyed::<Hmac<Sha1>>(&key, &data),
        ("sha256", Some(key)) => keyed::<Hmac<Sha256>>(&key, &data),
        _ => return Err(Exception::throw_type(&ctx, &format!("there is no hash {algorithm:?}"))),
    })
}

fn keyed<M: hmac::Mac + hmac::KeyInit>(key: &[u8], data: &[u8]) -> Vec<u8> {
    // A key of HMAC may have any length.
    let Ok(mut mac) = <M as hmac::KeyInit>::new_from_slice(key) else { return Vec::new() };
    mac.update(data);
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: FunctionLimits =
        FunctionLimits { time: Duration::from_millis(50), memory_bytes: 2 << 20, origins_bytes: 4 << 10 };

    fn function(code: &str) -> FunctionCode {
        let key_values = [("home".to_owned(), "{\"path\":\"/h\"}".to_owned())].into();
        FunctionCode { name: "test".into(), code: code.into(), key_values: Some(std::sync::Arc::new(key_values)) }
    }

    fn run(code: &str) -> FunctionRun {
        match Instance::new(&function(code), LIMITS) {
            Ok(instance) => instance.call("{\"n\":1}", 1_000_000.0, LIMITS),
            Err(error) => FunctionRun {
                returned: Err(error),
                origins: OriginChanges::default(),
                log: Vec::new(),
                took: Duration::ZERO,
            },
        }
    }

    /// What an expression comes to inside a function.
    fn value(expression: &str) -> String {
        run(&format!("function handler(event) {{ return {{ it: {expression} }}; }}")).returned.map_or_else(
            |error| error.to_string(),
            |json| json.strip_prefix("{\"it\":").and_then(|rest| rest.strip_suffix('}')).unwrap_or_default().to_owned(),
        )
    }

    #[test]
    fn a_handler_returns_an_object_or_the_promise_of_one() {
        let returned = |code| run(code).returned.unwrap();
        assert_eq!(returned("function handler(event) { event.n += 1; return event; } // the end"), "{\"n\":2}");
        assert_eq!(returned("async function handler(event) { await null; event.n = 7; return event; }"), "{\"n\":7}");
    }

    #[test]
    fn nothing_of_a_call_is_left_in_the_next() {
        let counting = function("let n = 0; function handler(event) { n += 1; return { n }; }");
        for _ in 0..2 {
            let instance = Instance::new(&counting, LIMITS).unwrap();
            assert_eq!(instance.call("{}", 0.0, LIMITS).returned.unwrap(), "{\"n\":1}");
        }
    }

    #[test]
    fn the_time_stands_still() {
        assert_eq!(value("[Date.now(), new Date().getTime(), +new Date(5)]"), "[1000000,1000000,5]");
        assert_eq!(value("new Date() instanceof Date && Date() === new Date().toString()"), "true");
        assert_eq!(value("new (new Date().constructor)().getTime()"), "1000000");
    }

    #[test]
    fn there_is_no_way_out_and_no_code_from_strings() {
        for name in ["setTimeout", "fetch", "process", "performance", "SharedArrayBuffer", "Atomics", "WeakRef", "std"]
        {
            assert_eq!(value(&format!("typeof {name}")), "\"undefined\"", "{name}");
        }
        for code in [
            "eval('1')",
            "Function('return 1')()",
            "(() => 1).constructor('return 1')()",
            "(async () => 1).constructor('return 1')()",
            "(function* () {}).constructor('yield 1')()",
        ] {
            assert!(value(code).contains("is not allowed in a function"), "{code}: {}", value(code));
        }
        let imported = run("import fs from 'fs'; function handler(event) { return event; }").returned.unwrap_err();
        assert!(imported.to_string().contains("fs"), "{imported}");
    }

    #[test]
    fn a_function_that_does_not_end_is_ended() {
        for body in
            ["for (;;) {}", "/(a+)+$/.test('a'.repeat(40) + 'b')", "try { for (;;) {} } finally { for (;;) {} }"]
        {
            let run = run(&format!("function handler(event) {{ {body}; return event; }}"));
            assert_eq!(run.returned, Err(FunctionError::OutOfTime), "{body}");
        }
        assert_eq!(run("for (;;) {}; function handler() {}").returned, Err(FunctionError::OutOfTime));
        let run = run("function handler(event) { return new Promise(() => {}); }");
        assert_eq!(run.returned, Err(FunctionError::Failed("the promise that it returned is never settled".into())));
    }

    #[test]
    fn a_function_that_wants_too_much_memory_gets_none() {
        for body in ["let a = []; for (;;) a.push('x'.repeat(1000));", "'x'.repeat(1e9)", "new Uint8Array(3e6)"] {
            let run = run(&format!("function handler(event) {{ {body}; return event; }}"));
            assert_eq!(run.returned, Err(FunctionError::OutOfMemory), "{body}");
        }
        let deep = run("function handler(event) { return handler(event); }").returned.unwrap_err();
        assert!(deep.to_string().contains("stack"), "{deep}");
    }

    #[test]
    fn what_went_wrong_is_said_with_its_place() {
        let said = |code| run(code).returned.unwrap_err().to_string();
        assert_eq!(
            said("function handler(event) {\n  throw new TypeError('no');\n}"),
            "TypeError: no at handler (test:2:13)"
        );
        assert_eq!(said("function handler(event) { throw { a: 1 }; }"), "it threw {\"a\":1}");
        assert_eq!(said("function handler(event) {}"), "the function returned nothing");
        assert!(said("function other() {}").starts_with("ReferenceError: handler is not defined"));
        assert!(said("function handler( {").starts_with("SyntaxError"), "{}", said("function handler( {"));
    }

    #[test]
    fn what_is_logged_is_kept_up_to_a_limit() {
        let run = run("function handler(event) { console.log('a', 1, { b: [null] }); \
             for (let i = 0; i < 30; i++) console.log('x'.repeat(1000)); return event; }");
        assert_eq!(run.log[0], "a 1 {\"b\":[null]}");
        assert_eq!(run.log.iter().map(String::len).sum::<usize>(), LOG_BYTES_MAX);
    }

    #[test]
    fn modules_do_what_they_do_at_cloudfront() {
        for (expression, expected) in [
            ("Buffer.from('\u{fc}').toString('hex')", "\"c3bc\""),
            ("Buffer.from('eyJhIjoxfQ', 'base64url').toString()", "\"{\\\"a\\\":1}\""),
            ("Buffer.from('YQ==', 'base64').length", "1"),
            ("btoa('\u{fc}') + atob('/A==')", "\"/A==\u{fc}\""),
            ("require('crypto').createHash('md5').update('a').digest('hex')", "\"0cc175b9c0f1b6a831c399e269772661\""),
            ("require('crypto').createHash('sha1').update('abc').digest('base64')", "\"qZk+NkcGgWq6PiVxeFDCbJzQ2J0=\""),
            // RFC 4231 section 4.3.
            (
                "require('crypto').createHmac('sha256', 'Jefe').update('what do ya want ').update('for nothing?')\
                 .digest('hex')",
                "\"5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843\"",
            ),
            ("require('querystring').parse('a=1&b=%20x&a=2')", "{\"a\":[\"1\",\"2\"],\"b\":\" x\"}"),
            ("require('querystring').stringify({ a: [1, 2], b: ' ' })", "\"a=1&a=2&b=%20\""),
        ] {
            assert_eq!(value(expression), expected, "{expression}");
        }
        for (expression, expected) in [
            ("Buffer.from([1, 2, 3, 4]).readUInt16BE(1)", "515"),
            ("Buffer.from([0xff, 0xfe]).readInt16LE()", "-257"),
            ("Buffer.from([0xff, 0xff, 0xfe]).readIntBE(0, 3)", "-2"),
            ("Buffer.from([1, 2, 3]).readUIntLE(0, 3)", "197121"),
            (
                "(b => [b.writeInt32LE(-2, 0), b.writeUIntBE(258, 4, 2), b.toString('hex')])(Buffer.alloc(6))",
                "[4,6,\"feffffff0102\"]",
            ),
            ("(b => [b.writeDoubleBE(1.5), b.readDoubleBE(0)])(Buffer.alloc(8))", "[8,1.5]"),
            ("Buffer.alloc(1).readInt16BE(0)", "RangeError"),
            ("Buffer.alloc(5, 'ab').toString()", "\"ababa\""),
            ("Buffer.from('hello').slice(1, 3).toString()", "\"el\""),
            ("Buffer.from('hello').toString('utf8', 1, 3)", "\"el\""),
            ("Buffer.from('hello').subarray(1) instanceof Buffer", "true"),
            (
                "['hello', 'l', 'x'].map(t => [Buffer.from('hello').indexOf(t), Buffer.from('hello').lastIndexOf(t)])",
                "[[0,0],[2,3],[-1,-1]]",
            ),
            ("[Buffer.from('abc').includes('bc'), Buffer.from('abc').includes(100)]", "[true,false]"),
            ("(b => [Buffer.from('abc').copy(b, 1), b.toString()])(Buffer.alloc(3, 'x'))", "[2,\"xab\"]"),
            (
                "(b => [b.write('hi', 1), b.write('6869', 0, 1, 'hex'), b.toString()])(Buffer.alloc(4, 'x'))",
                "[2,1,\"hhix\"]",
            ),
            (
                "[['a', 'b'], ['ab', 'a'], ['a', 'ab'], ['a', 'a']].map(([a, b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)))",
                "[-1,1,-1,0]",
            ),
            ("Buffer.concat([Buffer.from('ab'), Buffer.from('cd')], 3).toString()", "\"abc\""),
            ("Buffer.from([1, 2, 3, 4]).swap16().toString('hex')", "\"02010403\""),
            ("[Buffer.isEncoding('hex'), Buffer.isEncoding('utf16'), Buffer.byteLength('\u{fc}')]", "[true,false,2]"),
            ("Buffer.from('a').toJSON()", "{\"type\":\"Buffer\",\"data\":[97]}"),
        ] {
            let said = value(expression);
            assert!(said.starts_with(expected), "{expression}: {said}");
        }
        let stored = run("import cf from 'cloudfront'; import crypto, { createHash } from 'crypto'; \
             async function handler(event) { const store = cf.kvs(); \
               return [await store.get('home', { format: 'json' }), await store.exists('x'), await store.count(), \
                 crypto.createHash === createHash]; }");
        assert_eq!(stored.returned.unwrap(), "[{\"path\":\"/h\"},false,1,true]");
        let absent = run("import cf from 'cloudfront'; async function handler() { return cf.kvs().get('x'); }");
        assert!(absent.returned.unwrap_err().to_string().contains("there is no key \"x\""));
    }

    #[test]
    fn a_request_knows_its_query_string_as_it_was_sent() {
        let called = |event: &str| {
            let code = "import cf from 'cloudfront'; function handler(event) { const { request } = event; \
                        return { raw: String(request.rawQueryString()), keys: Object.keys(request), edge: cf.edgeLocation, \
                                 top: Object.keys(event) }; }";
            Instance::new(&function(code), LIMITS).unwrap().call(event, 0.0, LIMITS).returned.unwrap()
        };
        let sent = "{\"request\":{\"uri\":\"/\",\"rawQueryString\":\"b=%20&a\"},\"edgeLocation\":{\"name\":\"IAD\"}}";
        let expected = "{\"raw\":\"b=%20&a\",\"keys\":[\"uri\"],\"edge\":{\"name\":\"IAD\"},\"top\":[\"request\"]}";
        assert_eq!(called(sent), expected);
        let by_hand = "{\"request\":{\"querystring\":{\"a\":{\"value\":\"1\",\"multiValue\":[{\"value\":\"1\"},{\"value\":\"2\"}]},\
                       \"b\":{\"value\":\"\"}}}}";
        assert!(called(by_hand).contains("\"raw\":\"a=1&a=2&b\""), "{}", called(by_hand));
        assert!(called("{\"request\":{\"querystring\":{}}}").contains("\"raw\":\"undefined\""));
    }

    #[test]
    fn what_is_said_of_origins_is_kept_in_order() {
        let said = run("import cf from 'cloudfront'; function handler(event) { \
             cf.selectRequestOriginById('spare'); cf.updateRequestOrigin({ originPath: '/v2', sni: undefined }); \
             return event; }");
        assert!(said.returned.is_ok(), "{:?}", said.returned);
        let lines: Vec<_> = said.origins.said().iter().map(ToString::to_string).collect();
        let expected =
            ["{\"selectRequestOriginById\":[\"spare\"]}", "{\"updateRequestOrigin\":[{\"originPath\":\"/v2\"}]}"];
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_wrong_argument_is_an_exception_that_can_be_caught() {
        let failed = value("require('cloudfront').updateRequestOrigin({ domainName: 5 })");
        assert!(failed.starts_with("TypeError: cf.updateRequestOrigin(): domainName: invalid type"), "{failed}");
        let caught = run("import cf from 'cloudfront'; function handler(event) { \
             try { cf.selectRequestOriginById(); } catch (error) { return { said: error.message }; } }");
        assert!(caught.returned.unwrap().contains("it takes the id of an origin"));
        assert!(caught.origins.said().is_empty());
    }

    #[test]
    fn origins_are_for_the_handler_of_a_viewer_request() {
        let code = "import cf from 'cloudfront'; cf.selectRequestOriginById('a'); function handler(event) {}";
        assert!(run(code).returned.unwrap_err().to_string().contains("outside of the handler"));
        let code = "import cf from 'cloudfront'; function handler(event) { cf.selectRequestOriginById('a'); }";
        let instance = Instance::new(&function(code), LIMITS).unwrap();
        let run = instance.call("{\"context\":{\"eventType\":\"viewer-response\"}}", 0.0, LIMITS);
        assert!(run.returned.unwrap_err().to_string().contains("for viewer-request functions alone"));
    }
}
