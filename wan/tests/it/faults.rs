//! Faults over links and targets: refused, reset and black hole are three different things.

use std::{io, time::Instant};

use crate::world::{World, assert_took, ms, on_link, path, site};
use ::world::{LinkChange, TargetFault};
use cdn_core::Counter;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

#[tokio::test]
async fn refused_takes_one_round_trip_and_hits_new_connections_only() {
    let world = World::new(path(30, 0)).await;
    let (mut near, mut far) = world.pair().await;
    world.wan.set_faults(vec![world.on_target(TargetFault::Refuse)]);
    let began = Instant::now();
    assert_eq!(world.connect().await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    assert_took(began.elapsed(), ms(30));
    near.write_all(b"x").await.unwrap();
    far.read_exact(&mut [0]).await.unwrap();
    world.wan.set_faults(Vec::new());
    world.pair().await;
}

#[tokio::test]
async fn reset_opens_the_connection_and_breaks_it_with_the_first_bytes() {
    let world = World::new(path(30, 0)).await;
    world.wan.set_faults(vec![world.on_target(TargetFault::Reset)]);
    let (mut near, mut far) = world.pair().await;
    let began = Instant::now();
    near.write_all(b"GET").await.unwrap();
    assert_eq!(near.read(&mut [0; 8]).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    assert_took(began.elapsed(), ms(30));
    assert_eq!(far.read(&mut [0; 8]).await.unwrap(), 0, "the bytes never reached the target");
}

#[tokio::test]
async fn a_black_hole_never_answers_until_it_is_healed() {
    let world = World::new(path(10, 0)).await;
    let (mut near, mut far) = world.pair().await;
    world.wan.set_faults(vec![world.on_target(TargetFault::Blackhole)]);
    let connects = world.connect();
    tokio::pin!(connects);
    near.write_all(b"x").await.unwrap();
    assert!(timeout(ms(150), &mut connects).await.is_err());
    assert!(timeout(ms(50), far.read_exact(&mut [0])).await.is_err());
    assert!(world.count(Counter::WanDropsSilence) > 0 && world.count(Counter::WanRetransmissions) > 0);
    world.wan.set_faults(Vec::new());
    // The next retransmission of each gets through.
    connects.await.unwrap();
    far.read_exact(&mut [0]).await.unwrap();
}

#[tokio::test]
async fn a_partition_swallows_what_is_on_its_way_and_healing_resumes() {
    let world = World::new(path(60, 0)).await;
    let (mut near, mut far) = world.pair().await;
    near.write_all(b"up").await.unwrap();
    far.write_all(b"down").await.unwrap();
    world.wan.set_faults(vec![on_link(LinkChange::Partition, false)]);
    assert!(timeout(ms(150), far.read(&mut [0; 2])).await.is_err());
    assert!(timeout(ms(50), near.read(&mut [0; 4])).await.is_err());
    world.wan.set_faults(Vec::new());
    let mut bytes = [0; 4];
    far.read_exact(&mut bytes[..2]).await.unwrap();
    assert_eq!(&bytes[..2], b"up");
    near.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"down");
}

#[tokio::test]
async fn a_one_way_partition_lets_the_other_way_through() {
    let world = World::new(path(20, 0)).await;
    let (mut near, mut far) = world.pair().await;
    world.wan.set_faults(vec![on_link(LinkChange::Partition, true)]);
    near.write_all(b"up").await.unwrap();
    far.write_all(b"down").await.unwrap();
    near.read_exact(&mut [0; 4]).await.unwrap();
    assert!(timeout(ms(50), far.read(&mut [0; 2])).await.is_err());
    assert!(timeout(ms(50), world.connect()).await.is_err(), "a handshake needs both ways");
}

#[tokio::test]
async fn delay_and_latency_reach_open_connections_at_once() {
    let world = World::new(path(10, 0)).await;
    let (mut near, mut far) = world.pair().await;
    tokio::spawn(async move {
        let mut byte = [0];
        while far.read_exact(&mut byte).await.is_ok() {
            far.write_all(&byte).await.unwrap();
        }
    });
    let faults = [
        (Vec::new(), 10),
        (vec![on_link(LinkChange::Delay(ms(30)), true)], 40),
        (vec![on_link(LinkChange::Delay(ms(30)), false)], 70),
        (vec![world.on_target(TargetFault::Latency(ms(50)))], 60),
        (Vec::new(), 10),
    ];
    for (faults, asked_ms) in faults {
        world.wan.set_faults(faults);
        let began = Instant::now();
        near.write_all(b"x").await.unwrap();
        near.read_exact(&mut [0]).await.unwrap();
        assert_took(began.elapsed(), ms(asked_ms));
    }
}

#[tokio::test]
async fn throttles_hold_for_links_and_for_targets() {
    let world = World::new(path(10, 0)).await;
    for fault in [on_link(LinkChange::Throttle(800_000), false), world.on_target(TargetFault::Throttle(800_000))] {
        world.wan.set_faults(vec![fault]);
        let (mut near, mut far) = world.pair().await;
        let began = Instant::now();
        far.write_all(&[0; 40_000]).await.unwrap();
        near.read_exact(&mut [0; 40_000]).await.unwrap();
        // 40 kB at 100 kB/s.
        assert_took(began.elapsed(), ms(400));
    }
}

#[tokio::test]
async fn a_truncated_answer_ends_early() {
    let world = World::new(path(10, 0)).await;
    world.wan.set_faults(vec![world.on_target(TargetFault::Truncate(1_000))]);
    let (mut near, mut far) = world.pair().await;
    far.write_all(&[1; 5_000]).await.unwrap();
    let mut answer = Vec::new();
    near.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, [1; 1_000]);
}

#[tokio::test]
async fn a_stalled_answer_falls_silent_and_goes_on_once_healed() {
    let world = World::new(path(10, 0)).await;
    world.wan.set_faults(vec![world.on_target(TargetFault::Stall(1_000))]);
    let (mut near, mut far) = world.pair().await;
    far.write_all(&[1; 5_000]).await.unwrap();
    near.read_exact(&mut [0; 1_000]).await.unwrap();
    assert!(timeout(ms(60), near.read(&mut [0])).await.is_err());
    world.wan.set_faults(Vec::new());
    near.read_exact(&mut [0; 4_000]).await.unwrap();
}

#[tokio::test]
async fn garbage_begins_where_it_was_asked_for() {
    let world = World::new(path(10, 0)).await;
    world.wan.set_faults(vec![world.on_target(TargetFault::Garbage(10))]);
    let (mut near, mut far) = world.pair().await;
    far.write_all(&[1; 30]).await.unwrap();
    let mut answer = [0; 30];
    near.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer[..10], [1; 10]);
    assert!(answer[10..].iter().all(|byte| *byte != 1));
}

#[tokio::test]
async fn only_who_dials_from_the_named_site_suffers() {
    let world = World::new(path(4, 0)).await;
    let mut fault = world.on_target(TargetFault::Refuse);
    fault.from = Some(site(1));
    world.wan.set_faults(vec![fault]);
    assert_eq!(world.connect().await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    world.wan.dialer(site(3), None).connect(world.target).await.unwrap();
}
