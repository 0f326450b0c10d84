//! Datagrams through links.

use std::{io, time::Instant};

use crate::world::{World, assert_took, ms, on_link, path, site, wait_until};
use ::world::LinkChange;
use cdn_core::Counter;
use tokio::{net::UdpSocket, time::timeout};

#[tokio::test]
async fn an_exchange_takes_one_round_trip() {
    let world = World::new(path(40, 0)).await;
    let far = UdpSocket::bind("127.0.0.2:0").await.unwrap();
    let near = world.wan.datagram(site(1), Some("127.0.0.9".parse().unwrap())).await.unwrap();
    let target = far.local_addr().unwrap();
    let echo = async {
        let mut buffer = vec![0; 9_000];
        for _ in 0..3 {
            let (count, from) = far.recv_from(&mut buffer).await.unwrap();
            assert_eq!(from.ip().to_string(), "127.0.0.9");
            far.send_to(&buffer[..count], from).await.unwrap();
        }
    };
    let asks = async {
        for size in [1, 512, 8_000] {
            let began = Instant::now();
            near.send_to(&vec![7; size], target).unwrap();
            let mut answer = vec![0; 9_000];
            assert_eq!(near.recv_from(&mut answer).await.unwrap(), (size, target));
            assert_took(began.elapsed(), ms(40));
        }
    };
    tokio::join!(echo, asks);
    assert_eq!((world.count(Counter::WanDatagramsUp), world.count(Counter::WanDatagramsDown)), (3, 3));
}

#[tokio::test]
async fn datagrams_are_really_lost() {
    let world = World::new(path(4, 0)).await;
    let far = UdpSocket::bind("127.0.0.2:0").await.unwrap();
    let near = world.wan.datagram(site(1), None).await.unwrap();
    world.wan.set_faults(vec![on_link(LinkChange::Loss(0.5), false)]);
    for _ in 0..200 {
        near.send_to(b"x", far.local_addr().unwrap()).unwrap();
    }
    let lost = world.count(Counter::WanDropsLoss);
    assert!((60..140).contains(&lost), "{lost} of 200");
    for _ in lost..200 {
        far.recv_from(&mut [0; 8]).await.unwrap();
    }
    world.wan.set_faults(vec![on_link(LinkChange::Partition, false)]);
    near.send_to(b"x", far.local_addr().unwrap()).unwrap();
    assert!(timeout(ms(50), far.recv_from(&mut [0; 8])).await.is_err());
    assert_eq!(world.count(Counter::WanDropsSilence), 1);
}

#[tokio::test]
async fn nothing_bypasses_the_links() {
    let world = World::new(path(4, 0)).await;
    let near = world.wan.datagram(site(1), None).await.unwrap();
    let error = near.send_to(b"x", "127.9.0.1:53".parse().unwrap()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    assert_eq!(world.count(Counter::WanDialNoRoute), 1);
}

#[tokio::test]
async fn what_a_dropped_socket_sent_still_arrives() {
    let world = World::new(path(40, 0)).await;
    let far = UdpSocket::bind("127.0.0.2:0").await.unwrap();
    let near = world.wan.datagram(site(1), None).await.unwrap();
    near.send_to(b"last", far.local_addr().unwrap()).unwrap();
    drop(near);
    let mut buffer = [0; 8];
    assert_eq!(far.recv_from(&mut buffer).await.unwrap().0, 4);
}

#[tokio::test]
async fn the_queue_is_bounded() {
    let options = wan::WanOptions { datagrams_max: 10, ..wan::WanOptions::default() };
    let world = World::with(path(40, 0), options).await;
    let far = UdpSocket::bind("127.0.0.2:0").await.unwrap();
    let near = world.wan.datagram(site(1), None).await.unwrap();
    for _ in 0..15 {
        near.send_to(b"x", far.local_addr().unwrap()).unwrap();
    }
    wait_until("five are dropped", || world.count(Counter::WanDropsQueueFull) == 5).await;
}
