;; An eviction policy: who came first goes first.
;;
;; Ids stand in a ring of 2^20 places, 8 bytes each, so that this is good for a million objects in a cache.
;;
;;   iso study cache --policy fifo,wasm:examples/policies/fifo.wat
(module
  (memory 128)
  (global $first (mut i32) (i32.const 0))
  (global $next (mut i32) (i32.const 0))

  (func $address (param $place i32) (result i32)
    (i32.shl (i32.and (local.get $place) (i32.const 0xfffff)) (i32.const 3)))

  (func (export "on_insert") (param $id i64) (param $size i64)
    (if (i32.eq (i32.sub (global.get $next) (global.get $first)) (i32.const 0x100000)) (then unreachable))
    (i64.store (call $address (global.get $next)) (local.get $id))
    (global.set $next (i32.add (global.get $next) (i32.const 1))))

  (func (export "on_hit") (param $id i64) (param $size i64))

  (func (export "evict") (result i64)
    (call $address (global.get $first))
    (global.set $first (i32.add (global.get $first) (i32.const 1)))
    i64.load))
