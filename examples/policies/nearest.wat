;; A routing policy: the healthy PoP with the shortest round trip.
;;
;;   iso study routing --cities 100 --router wasm:examples/policies/nearest.wat
;;
;; The question is a line of JSON, and this reads just as much of it as it needs: after each "id":" three letters, after
;; "healthy": a t or an f, after "rtt_ms": digits and a point. Numbers have one digit behind the point.
(module
  (memory (export "memory") 16)
  (data (i32.const 0) "\"id\":\"")
  (data (i32.const 16) "\"healthy\":")
  (data (i32.const 32) "\"rtt_ms\":")
  ;; The answer: a PoP's code in quotes.
  (data (i32.const 64) "\"???\"")

  ;; One question at a time, so that it always has the same place; the memory holds one of nearly a megabyte.
  (func (export "alloc") (param $length i32) (result i32)
    (if (i32.gt_u (local.get $length) (i32.const 1000000)) (then unreachable))
    i32.const 1024)

  ;; Behind the next place from $at on where the $length bytes at $what stand; 0 where there is none before $end.
  (func $behind (param $at i32) (param $end i32) (param $what i32) (param $length i32) (result i32)
    (local $n i32)
    (loop $place
      (if (i32.gt_u (i32.add (local.get $at) (local.get $length)) (local.get $end)) (then (return (i32.const 0))))
      (local.set $n (i32.const 0))
      (block $differs
        (loop $byte
          (br_if $differs
            (i32.ne
              (i32.load8_u (i32.add (local.get $at) (local.get $n)))
              (i32.load8_u (i32.add (local.get $what) (local.get $n)))))
          (local.set $n (i32.add (local.get $n) (i32.const 1)))
          (br_if $byte (i32.lt_u (local.get $n) (local.get $length))))
        (return (i32.add (local.get $at) (local.get $length))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br $place))
    unreachable)

  ;; The digits from $at on as one number, whatever point stands between them.
  (func $number (param $at i32) (result i32)
    (local $value i32) (local $byte i32)
    (loop $next
      (local.set $byte (i32.load8_u (local.get $at)))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br_if $next (i32.eq (local.get $byte) (i32.const 46)))
      (if (i32.lt_u (i32.sub (local.get $byte) (i32.const 48)) (i32.const 10))
        (then
          (local.set $value
            (i32.add (i32.mul (local.get $value) (i32.const 10)) (i32.sub (local.get $byte) (i32.const 48))))
          (br $next))))
    local.get $value)

  (func (export "choose") (param $at i32) (param $length i32) (result i64)
    (local $end i32) (local $id i32) (local $rtt i32) (local $best i32) (local $best_rtt i32)
    (local.set $end (i32.add (local.get $at) (local.get $length)))
    (local.set $best_rtt (i32.const -1))
    (block $done
      (loop $pop
        (local.set $at (call $behind (local.get $at) (local.get $end) (i32.const 0) (i32.const 6)))
        (br_if $done (i32.eqz (local.get $at)))
        (local.set $id (local.get $at))
        (if (i32.eqz (local.get $best)) (then (local.set $best (local.get $id))))
        (local.set $at (call $behind (local.get $at) (local.get $end) (i32.const 16) (i32.const 10)))
        (br_if $done (i32.eqz (local.get $at)))
        (br_if $pop (i32.ne (i32.load8_u (local.get $at)) (i32.const 116)))
        (local.set $at (call $behind (local.get $at) (local.get $end) (i32.const 32) (i32.const 9)))
        (br_if $done (i32.eqz (local.get $at)))
        (local.set $rtt (call $number (local.get $at)))
        (if (i32.lt_u (local.get $rtt) (local.get $best_rtt))
          (then (local.set $best (local.get $id)) (local.set $best_rtt (local.get $rtt))))
        (br $pop)))
    (i32.store8 (i32.const 65) (i32.load8_u (local.get $best)))
    (i32.store8 (i32.const 66) (i32.load8_u (i32.add (local.get $best) (i32.const 1))))
    (i32.store8 (i32.const 67) (i32.load8_u (i32.add (local.get $best) (i32.const 2))))
    ;; Address 64, five bytes.
    (i64.or (i64.shl (i64.const 64) (i64.const 32)) (i64.const 5))))
