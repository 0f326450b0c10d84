use std::{fs, os::unix::fs::symlink, path::Path};

use origin_sim::Rule;
use tempfile::TempDir;

use crate::{Origin, client::Client};

fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    fs::create_dir_all(root.join("sub")).unwrap();
    fs::create_dir_all(root.join("empty")).unwrap();
    fs::write(root.join("index.html"), "<p>home").unwrap();
    fs::write(root.join("sub/index.html"), "<p>sub").unwrap();
    fs::write(root.join("a b.txt"), "0123456789").unwrap();
    fs::write(folder.path().join("secret"), "secret").unwrap();
    symlink(folder.path().join("secret"), root.join("leak")).unwrap();
    symlink(folder.path(), root.join("up")).unwrap();
    symlink("a b.txt", root.join("alias.txt")).unwrap();
    folder
}

fn serving(root: &Path) -> Origin {
    Origin::start(|config| {
        config.root = Some(root.to_owned());
        config.rules = vec![Rule::parse("*.txt", "max-age=7").unwrap()];
    })
}

#[tokio::test]
async fn files_have_type_validators_and_ranges() {
    let folder = folder();
    let origin = serving(&folder.path().join("root"));
    let mut client = Client::connect(origin.address).await;
    let index = client.get("/").await;
    assert_eq!((index.text(), index.header("content-type").unwrap().as_str()), ("<p>home", "text/html; charset=utf-8"));
    assert_eq!(index.header("x-origin").unwrap(), "primary");
    assert_eq!(client.get("/sub/").await.text(), "<p>sub");

    let file = client.get("/a%20b.txt?size=3").await;
    assert_eq!((file.text(), file.header("cache-control").unwrap().as_str()), ("0123456789", "max-age=7"));
    let etag = file.header("etag").unwrap();
    assert_eq!(client.get("/alias.txt").await.text(), "0123456789");
    let fresh = format!("If-None-Match: {etag}\r\n");
    assert_eq!(client.ask("GET", "/a%20b.txt", &fresh).await.unwrap().status, 304);
    let since = format!("If-Modified-Since: {}\r\n", file.header("last-modified").unwrap());
    assert_eq!(client.ask("GET", "/a%20b.txt", &since).await.unwrap().status, 304);
    let part = client.ask("GET", "/a%20b.txt", "Range: bytes=2-4\r\n").await.unwrap();
    assert_eq!((part.status, part.text()), (206, "234"));
    let head = client.ask("HEAD", "/a%20b.txt", "").await.unwrap();
    assert_eq!((head.status, head.header("content-length").unwrap().as_str()), (200, "10"));
    fs::write(folder.path().join("root/a b.txt"), "changed").unwrap();
    assert_eq!(client.ask("GET", "/a%20b.txt", &fresh).await.unwrap().text(), "changed");
}

#[tokio::test]
async fn what_lies_outside_does_not_exist() {
    let folder = folder();
    let origin = serving(&folder.path().join("root"));
    let mut client = Client::connect(origin.address).await;
    for target in [
        "/../secret",
        "/%2e%2e/secret",
        "/..%2fsecret",
        "/sub/../../secret",
        "/leak",
        "/up/secret",
        "/a%20b.txt%00",
        "/%c0%ae%c0%ae/secret",
        "/missing",
        "/a%20b.txt/",
        "/a%20b.txt/x",
        "/empty/",
        "/%2fetc/passwd",
        "//../secret",
    ] {
        let reply = client.get(target).await;
        assert_eq!(reply.status, 404, "{target}");
        assert!(!reply.text().contains("secret"), "{target}");
    }
    let long = format!("/{}", "n".repeat(5000));
    assert_eq!(client.get(&long).await.status, 404);
}

#[tokio::test]
async fn directories_redirect_to_their_slash_and_never_to_another_host() {
    let folder = folder();
    let origin = serving(&folder.path().join("root"));
    let mut client = Client::connect(origin.address).await;
    let reply = client.get("/sub?x=1").await;
    assert_eq!((reply.status, reply.header("location").unwrap().as_str()), (301, "/sub/?x=1"));
    let reply = client.get("//sub").await;
    assert_eq!(reply.header("location").unwrap(), "/sub/");
}

#[tokio::test]
async fn other_methods_are_not_allowed_and_what_is_no_file_is_forbidden() {
    let folder = folder();
    let root = folder.path().join("root");
    // A socket: opening it would fail, opening a pipe would hang.
    let _listener = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
    let origin = serving(&root);
    let mut client = Client::connect(origin.address).await;
    let reply = client.ask("DELETE", "/a%20b.txt", "").await.unwrap();
    assert_eq!((reply.status, reply.header("allow").unwrap().as_str()), (405, "GET, HEAD, OPTIONS"));
    assert_eq!(client.get("/socket").await.status, 403);
    assert_eq!(client.ask("HEAD", "/missing", "").await.unwrap().status, 404);
    assert_eq!(client.get("/").await.status, 200, "the connection goes on");
}

#[tokio::test]
async fn a_missing_folder_is_unavailable_until_it_is_there() {
    let folder = folder();
    let later = folder.path().join("later");
    let origin = serving(&later);
    let mut client = Client::connect(origin.address).await;
    assert_eq!(client.get("/").await.status, 503);
    fs::create_dir(&later).unwrap();
    fs::write(later.join("index.html"), "here").unwrap();
    assert_eq!(client.get("/").await.text(), "here");
}

#[tokio::test]
async fn big_files_come_whole_and_a_file_that_shrinks_breaks_the_answer() {
    let folder = folder();
    let path = folder.path().join("root/big.bin");
    let big: Vec<u8> = (0..5_000_000_u32).map(|at| (at % 251) as u8).collect();
    fs::write(&path, &big).unwrap();
    let origin = serving(&folder.path().join("root"));
    let mut client = Client::connect(origin.address).await;
    assert!(client.get("/big.bin").await.body == big);

    fs::File::create(&path).unwrap().set_len(1 << 30).unwrap();
    client.send("GET /big.bin HTTP/1.1\r\nHost: h\r\n\r\n").await;
    client.at_least(1000).await;
    fs::File::options().write(true).open(&path).unwrap().set_len(100).unwrap();
    let (bytes, _) = client.rest().await;
    assert!(bytes.len() < 1 << 30);
}
