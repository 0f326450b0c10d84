//! The door by which the fuzz targets `cloudfront_import` and `cloudfront_xml` and the tests beside them reach what is
//! private here.

use super::{Node, Options, changes, export, import, xml};
use crate::cluster::{Cluster, Inputs};

/// Imports a text. Whatever it is, it is taken or refused at bytes that are there; what a world can be started with is
/// exported, and the export says the same when it is imported in turn.
///
/// # Panics
/// Any of that does not hold.
pub(crate) fn survives(text: &str) {
    let options = Options { id: "dist".to_owned(), ..Options::default() };
    let round = |text: &str| {
        let imported = match import(text, &options) {
            Ok(imported) => imported,
            Err(refusal) => {
                assert!(refusal.at.start <= text.len(), "{refusal:?}");
                return Err(refusal);
            }
        };
        let cluster = Cluster::check(&imported.file, &Inputs::default());
        Ok(cluster.ok().map(|cluster| export(&imported.file, &cluster, &cluster.distributions[0]).config))
    };
    let Ok(Some(once)) = round(text) else { return };
    let again = round(&once.to_string()).unwrap_or_else(|refusal| panic!("{refusal:?} of {once}"));
    let again = again.unwrap_or_else(|| panic!("no world has {once}"));
    assert_eq!(changes(&once, &again), [], "{once}");
}

/// Reads a text as XML, and imports it. Whatever it is, it is refused at bytes that are there, or every value stands inside of
/// the one around it.
///
/// # Panics
/// That does not hold.
pub(crate) fn reads_xml(text: &str) {
    fn stands(node: &Node, text: &str) {
        assert!(text.get(node.at.clone()).is_some(), "{:?} is no place of {text:?}", node.at);
        for child in node.children() {
            assert!(node.at.start <= child.at.start && child.at.end <= node.at.end, "{child:?} is not in {node:?}");
            stands(child, text);
        }
    }
    match xml::parse(text) {
        Ok(node) => stands(&node, text),
        Err(unreadable) => assert!(unreadable.at <= text.len(), "{unreadable:?}"),
    }
    survives(text);
}
