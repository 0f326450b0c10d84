// What a viewer function finds around it: the globals of CloudFront's runtime 2.0, made of what the engine has and the
// few things that it is handed. Whatever is not listed here is removed before the function's own code is read.
(function (native) {
  'use strict';

  const forbidden = (what) => function () { throw new Error(`${what} is not allowed in a function`); };

  // Strings become code nowhere: neither by name nor by the constructor of any kind of function.
  const kinds = [function () {}, function* () {}, async function () {}, async function* () {}];
  for (const kind of kinds) {
    const prototype = Object.getPrototypeOf(kind);
    const constructor = forbidden('new Function()');
    constructor.prototype = prototype;
    Object.defineProperty(prototype, 'constructor', { value: constructor });
  }
  const kept = new Set(('Object Error EvalError RangeError ReferenceError SyntaxError TypeError URIError ' +
    'AggregateError Array Boolean Number String Math Reflect Symbol Iterator globalThis JSON RegExp Map Set WeakMap ' +
    'WeakSet Promise Proxy ArrayBuffer DataView Int8Array Uint8Array Uint8ClampedArray Int16Array Uint16Array ' +
    'Int32Array Uint32Array Float32Array Float64Array parseInt parseFloat isNaN isFinite NaN Infinity undefined ' +
    'encodeURI encodeURIComponent decodeURI decodeURIComponent escape unescape Date').split(' '));
  for (const name of Object.getOwnPropertyNames(globalThis)) {
    if (!kept.has(name)) delete globalThis[name];
  }
  const define = (name, value) =>
    Object.defineProperty(globalThis, name, { value, writable: true, configurable: true });
  define('eval', forbidden('eval()'));
  define('Function', Object.getPrototypeOf(forbidden).constructor);

  // The time is that at which the call began, for as long as it takes.
  const Clock = Date;
  const Frozen = new Proxy(Clock, {
    construct: (target, given, self) => Reflect.construct(target, given.length ? given : [native.now()], self),
    apply: () => new Clock(native.now()).toString(),
  });
  Clock.now = () => native.now();
  Object.defineProperty(Clock.prototype, 'constructor', { value: Frozen });
  define('Date', Frozen);

  const show = (value) => {
    if (typeof value === 'string') return value;
    if (value instanceof Error) return String(value);
    if (typeof value !== 'object' || value === null) return String(value);
    return JSON.stringify(value);
  };
  const log = (...values) => native.log(values.map(show).join(' '));
  define('console', { log, error: log });

  class Buffer extends Uint8Array {
    static from(value, encoding) {
      if (typeof value === 'string') return Buffer.over(native.decode(value, encoding || 'utf8'));
      return Buffer.over(value instanceof ArrayBuffer ? new Uint8Array(value) : value);
    }
    static alloc(length, fill) { return new Buffer(length).fill(fill || 0); }
    static isBuffer(value) { return value instanceof Buffer; }
    static byteLength(text, encoding) { return Buffer.from(text, encoding).length; }
    static concat(list) {
      const all = new Buffer(list.reduce((sum, one) => sum + one.length, 0));
      list.reduce((at, one) => (all.set(one, at), at + one.length), 0);
      return all;
    }
    static over(bytes) {
      const buffer = new Buffer(bytes.length);
      buffer.set(bytes);
      return buffer;
    }
    toString(encoding) { return native.encode(Array.from(this), encoding || 'utf8'); }
    equals(other) { return this.length === other.length && this.every((byte, at) => byte === other[at]); }
  }
  define('Buffer', Buffer);
  define('btoa', (text) => Buffer.from(String(text), 'latin1').toString('base64'));
  define('atob', (text) => Buffer.from(String(text), 'base64').toString('latin1'));

  const hashing = (algorithm, key) => {
    const parts = [];
    return {
      update(data, encoding) {
        parts.push(Buffer.from(data, encoding));
        return this;
      },
      digest(encoding) {
        const digest = Buffer.over(native.digest(algorithm, key, Array.from(Buffer.concat(parts))));
        return encoding ? digest.toString(encoding) : digest;
      },
    };
  };
  const crypto = {
    createHash: (algorithm) => hashing(algorithm, null),
    createHmac: (algorithm, key) => hashing(algorithm, Array.from(Buffer.from(key))),
  };

  const querystring = {
    escape: encodeURIComponent,
    unescape: decodeURIComponent,
    parse(text, separator, equals) {
      const parsed = {};
      for (const pair of String(text).split(separator || '&').filter(Boolean)) {
        const at = pair.indexOf(equals || '=');
        const part = (from, to) => querystring.unescape(pair.slice(from, to).replace(/\+/g, ' '));
        const name = at < 0 ? part(0) : part(0, at);
        const value = at < 0 ? '' : part(at + 1);
        parsed[name] = Object.hasOwn(parsed, name) ? [].concat(parsed[name], value) : value;
      }
      return parsed;
    },
    stringify(object, separator, equals) {
      const pair = (name, value) => querystring.escape(name) + (equals || '=') + querystring.escape(value);
      return Object.entries(object)
        .flatMap(([name, values]) => [].concat(values).map((value) => pair(name, value)))
        .join(separator || '&');
    },
  };
  querystring.decode = querystring.parse;
  querystring.encode = querystring.stringify;

  const { stringify } = JSON;
  const changing = (method) => (...given) => { native.changeOrigin(method, stringify(given)); };
  const cloudfront = {
    kvs() {
      if (!native.hasStore) throw new Error('this function has no key value store');
      const found = (key) => {
        const value = native.lookup(String(key));
        if (value === undefined) throw new Error(`KeyNotFound: there is no key ${JSON.stringify(key)}`);
        return value;
      };
      const formats = { string: (value) => value, json: JSON.parse, bytes: (value) => Buffer.from(value) };
      return {
        async get(key, options) {
          const format = (options && options.format) || 'string';
          if (!Object.hasOwn(formats, format)) throw new Error(`no format ${JSON.stringify(format)}`);
          return formats[format](found(key));
        },
        async exists(key) { return native.lookup(String(key)) !== undefined; },
        async count() { return native.storeSize; },
        async meta() { return { keyCount: native.storeSize }; },
      };
    },
    updateRequestOrigin: changing('updateRequestOrigin'),
    selectRequestOriginById: changing('selectRequestOriginById'),
    createRequestOriginGroup: changing('createRequestOriginGroup'),
  };

  const modules = { buffer: { Buffer }, cloudfront, crypto, querystring };
  define('require', (name) => {
    if (!Object.hasOwn(modules, name)) throw new Error(`there is no module ${JSON.stringify(name)}`);
    return modules[name];
  });

  // What is called with each event before the handler is: whether it is one of a response.
  return ({ context }) => Boolean(context) && context.eventType === 'viewer-response';
})
