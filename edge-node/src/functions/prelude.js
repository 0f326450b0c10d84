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

  const encodings = ['utf8', 'utf-8', 'hex', 'base64', 'base64url', 'latin1', 'binary', 'ascii'];
  class Buffer extends Uint8Array {
    static from(value, encoding) {
      if (typeof value === 'string') return Buffer.over(native.decode(value, encoding || 'utf8'));
      return Buffer.over(value instanceof ArrayBuffer ? new Uint8Array(value) : value);
    }
    static alloc(length, fill, encoding) { return new Buffer(length).fill(fill || 0, 0, length, encoding); }
    static allocUnsafe(length) { return new Buffer(length); }
    static isBuffer(value) { return value instanceof Buffer; }
    static isEncoding(name) { return encodings.includes(name); }
    static byteLength(value, encoding) {
      return typeof value === 'string' ? Buffer.from(value, encoding).length : value.byteLength;
    }
    static compare(one, other) {
      const at = one.findIndex((byte, at) => byte !== other[at]);
      const [a, b] = at < 0 ? [one.length, other.length] : [one[at], at < other.length ? other[at] : -1];
      return Math.sign(a - b);
    }
    static concat(list, length) {
      const sum = list.reduce((sum, one) => sum + one.length, 0);
      const all = new Buffer(sum);
      list.reduce((at, one) => (all.set(one, at), at + one.length), 0);
      if (length === undefined || length === sum) return all;
      const fitted = new Buffer(length);
      fitted.set(all.subarray(0, length));
      return fitted;
    }
    static over(bytes) {
      const buffer = new Buffer(bytes.length);
      buffer.set(bytes);
      return buffer;
    }
    toString(encoding, start, end) {
      return native.encode(Array.from(this.subarray(start || 0, end)), encoding || 'utf8');
    }
    toJSON() { return { type: 'Buffer', data: Array.from(this) }; }
    equals(other) { return Buffer.compare(this, other) === 0; }
    compare(other, start, end, ownStart, ownEnd) {
      return Buffer.compare(this.subarray(ownStart || 0, ownEnd), other.subarray(start || 0, end));
    }
    copy(target, at, start, end) {
      const part = this.subarray(start || 0, end).subarray(0, target.length - (at || 0));
      target.set(part, at || 0);
      return part.length;
    }
    fill(value, start, end, encoding) {
      const pattern = sought(value, typeof start === 'string' ? start : encoding);
      const isWhole = typeof start === 'string';
      const [from, to] = [isWhole ? 0 : start || 0, isWhole || end === undefined ? this.length : end];
      for (let at = from; at < to; at += 1) this[at] = pattern.length ? pattern[(at - from) % pattern.length] : 0;
      return this;
    }
    slice(start, end) { return this.subarray(start, end); }
    includes(value, from, encoding) { return this.indexOf(value, from, encoding) >= 0; }
    indexOf(value, from, encoding) {
      const [bytes, start] = [sought(value, encoding), from < 0 ? Math.max(0, this.length + from) : from || 0];
      for (let at = start; at <= this.length - bytes.length; at += 1) if (holds(this, bytes, at)) return at;
      return -1;
    }
    lastIndexOf(value, from, encoding) {
      const bytes = sought(value, encoding);
      const start = from < 0 ? this.length + from : from === undefined ? this.length : from;
      for (let at = Math.min(start, this.length - bytes.length); at >= 0; at -= 1) {
        if (holds(this, bytes, at)) return at;
      }
      return -1;
    }
    write(text, ...rest) {
      const encoding = typeof rest[rest.length - 1] === 'string' ? rest.pop() : 'utf8';
      const [at, length] = [rest[0] || 0, rest[1]];
      return Buffer.from(text, encoding).copy(this, at, 0, length);
    }
  }
  const sought = (value, encoding) => {
    if (typeof value === 'number') return Buffer.over([value]);
    return typeof value === 'string' ? Buffer.from(value, encoding) : value;
  };
  const holds = (buffer, bytes, at) => bytes.every((byte, offset) => buffer[at + offset] === byte);
  const method = (name, value) =>
    Object.defineProperty(Buffer.prototype, name, { value, writable: true, configurable: true });
  const view = (buffer) => new DataView(buffer.buffer, buffer.byteOffset, buffer.length);
  // Numbers: `readInt16LE(at)` and its kin, and those that are told how many bytes there are.
  const numbers = [['Int8', 'Int8', 1], ['UInt8', 'Uint8', 1], ['Int16', 'Int16', 2], ['UInt16', 'Uint16', 2],
    ['Int32', 'Int32', 4], ['UInt32', 'Uint32', 4], ['Float', 'Float32', 4], ['Double', 'Float64', 8]];
  for (const [word, kind, size] of numbers) {
    for (const end of size === 1 ? [''] : ['LE', 'BE']) {
      method(`read${word}${end}`, function (at) { return view(this)[`get${kind}`](at || 0, end === 'LE'); });
      method(`write${word}${end}`, function (value, at) {
        view(this)[`set${kind}`](at || 0, value, end === 'LE');
        return (at || 0) + size;
      });
    }
  }
  for (const [end, order] of [['LE', (bytes) => bytes.reverse()], ['BE', (bytes) => bytes]]) {
    const bytesOf = (buffer, at, length) => {
      const isWithin = at >= 0 && length >= 1 && length <= 6 && at + length <= buffer.length;
      if (!isWithin) throw new RangeError('out of range');
      return order(Array.from(buffer.subarray(at, at + length)));
    };
    const unsigned = (buffer, at, length) => bytesOf(buffer, at, length).reduce((sum, byte) => sum * 256 + byte, 0);
    method(`readUInt${end}`, function (at, length) { return unsigned(this, at, length); });
    method(`readInt${end}`, function (at, length) {
      const value = unsigned(this, at, length);
      return value >= 2 ** (8 * length - 1) ? value - 2 ** (8 * length) : value;
    });
    const write = function (value, at, length) {
      bytesOf(this, at, length);
      let rest = value < 0 ? value + 2 ** (8 * length) : value;
      const bytes = Array.from({ length }, () => {
        const byte = rest % 256;
        rest = Math.floor(rest / 256);
        return byte;
      });
      this.set(order(bytes.reverse()), at);
      return at + length;
    };
    method(`writeUInt${end}`, write);
    method(`writeInt${end}`, write);
  }
  for (const size of [2, 4, 8]) {
    method(`swap${8 * size}`, function () {
      if (this.length % size) throw new RangeError(`the length must be a multiple of ${size}`);
      for (let at = 0; at < this.length; at += size) this.subarray(at, at + size).reverse();
      return this;
    });
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
      if (!native.hasStore) throw new Error('KVSNamespaceNotFound: this function has no key value store');
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

  const rawQuery = (parameters) => {
    const pair = (name, value) => (value === '' ? name : `${name}=${value}`);
    const pairs = Object.entries(parameters || {})
      .flatMap(([name, one]) => (one.multiValue || [one]).map(({ value }) => pair(name, value)));
    return pairs.length ? pairs.join('&') : undefined;
  };

  // What is called with each event before the handler is: whether it is one of a response.
  return (event) => {
    const { context, request, edgeLocation } = event;
    if (request) {
      // An event that was written by hand has the parameters alone.
      const raw = typeof request.rawQueryString === 'string' ? request.rawQueryString : rawQuery(request.querystring);
      delete request.rawQueryString;
      Object.defineProperty(request, 'rawQueryString', { value: () => raw, configurable: true });
    }
    delete event.edgeLocation;
    const isResponse = Boolean(context) && context.eventType === 'viewer-response';
    if (edgeLocation && !isResponse) cloudfront.edgeLocation = edgeLocation;
    return isResponse;
  };
})
