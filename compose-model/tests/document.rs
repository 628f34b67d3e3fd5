//! Files changed in place: what no edit names stays, byte for byte.
#![allow(missing_docs, clippy::unwrap_used)]
use compose_model::Document;
use compose_model::yaml::{Budget, Node, Value, parse};

const SHOP: &str = "\
# The shop, see the wiki.
name: shop

x-logging: &logging # for all
  driver: json-file
  options: {max-size: \"10m\", max-file: '3'}   # small

services:
  # the front
  web: # nginx
    image: \"nginx:1.26\"   # pinned
    ports:
      - 80:80 # plain
      - target: 443
        published: 8443   # behind the firewall
    command: >-
      nginx -g
      'daemon off;'

    environment:
      # where the data lies
      DB_HOST: db
      MOTD: |
        # no comment
        hello
    logging: *logging
    tmpfs:
    labels: [a=1, 'b=2', c=3]

  db:
    image: postgres:16
    restart: always
# the end
";

fn value(text: &str) -> Node {
    let mut found = Vec::new();
    parse(compose_model::FileId::default(), text, &mut Budget::default(), &mut found).pop().unwrap()
}

/// An edit of the shop: the line numbers that went and the lines that came.
fn changed(edit: impl FnOnce(&mut Document)) -> (Vec<usize>, Vec<String>) {
    let mut file = Document::parse(SHOP).unwrap();
    edit(&mut file);
    let text = file.to_string();
    let (old, new): (Vec<&str>, Vec<&str>) = (SHOP.lines().collect(), text.lines().collect());
    let same = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
    let room = old.len().min(new.len()) - same;
    let behind =
        old.iter().rev().zip(new.iter().rev()).take(room).take_while(|(old, new)| old == new).count();
    let went = (same + 1..=old.len() - behind).collect();
    (went, new[same..new.len() - behind].iter().map(|line| (*line).to_owned()).collect())
}

#[track_caller]
fn sets(path: &[&str], text: &str, went: &[usize], came: &[&str]) {
    let (old, new) = changed(|file| file.set(path, &value(text)).unwrap());
    assert_eq!((old.as_slice(), new.iter().map(String::as_str).collect::<Vec<_>>()), (went, came.to_vec()));
}

#[track_caller]
fn removes(path: &[&str], went: &[usize], came: &[&str]) {
    let (old, new) = changed(|file| {
        file.remove(path).unwrap();
    });
    assert_eq!((old.as_slice(), new.iter().map(String::as_str).collect::<Vec<_>>()), (went, came.to_vec()));
}

#[test]
fn a_file_prints_as_it_was_read() {
    assert_eq!(Document::parse(SHOP).unwrap().to_string(), SHOP);
}

#[test]
fn a_scalar_is_replaced_and_its_comment_stays() {
    sets(&["services", "web", "image"], "nginx:1.27", &[11], &["    image: nginx:1.27   # pinned"]);
    sets(&["services", "web", "ports", "0"], "'81:80'", &[13], &["      - \"81:80\" # plain"]);
    sets(
        &["services", "web", "ports", "1", "published"],
        "'9443'",
        &[15],
        &["        published: \"9443\"   # behind the firewall"],
    );
    sets(&["services", "web", "labels", "1"], "b=9", &[28], &["    labels: [a=1, b=9, c=3]"]);
}

#[test]
fn a_block_of_text_is_replaced_whole() {
    sets(&["services", "web", "command"], "nginx", &[16, 17, 18], &["    command: nginx"]);
    sets(&["services", "web", "environment", "MOTD"], "\"a\\nb\\n\"", &[24, 25], &["        a", "        b"]);
}

#[test]
fn lists_and_mappings_take_the_place_of_scalars_and_the_other_way_about() {
    sets(
        &["services", "web", "command"],
        "[nginx, -g]",
        &[16, 17, 18],
        &["    command:", "      - nginx", "      - -g"],
    );
    sets(&["services", "web", "ports"], "[]", &[12, 13, 14, 15], &["    ports: []   # behind the firewall"]);
    sets(&["services", "web"], "null", &(10..=28).collect::<Vec<_>>(), &["  web: null # nginx"]);
    sets(&["services", "web", "tmpfs"], "/run", &[27], &["    tmpfs: /run"]);
    sets(&["services", "web", "tmpfs"], "[/run, /tmp]", &[], &["      - /run", "      - /tmp"]);
    sets(&["services", "web", "ports", "0"], "{target: 80}", &[13], &["      - target: 80 # plain"]);
    sets(
        &["services", "web", "labels", "0"],
        "{a: 'x: y'}",
        &[28],
        &["    labels: [{a: \"x: y\"}, 'b=2', c=3]"],
    );
}

#[test]
fn a_new_key_or_item_stands_behind_the_last_one() {
    sets(&["services", "db", "user"], "postgres", &[], &["    user: postgres"]);
    sets(&["services", "web", "ports", "2"], "90:90", &[], &["      - \"90:90\""]);
    sets(&["services", "web", "ports", "1", "mode"], "host", &[], &["        mode: host"]);
    sets(&["services", "web", "labels", "3"], "d", &[28], &["    labels: [a=1, 'b=2', c=3, d]"]);
    sets(&["services", "web", "tmpfs", "size"], "1", &[], &["      size: 1"]);
    sets(&["volumes"], "{data: {}}", &[], &["volumes:", "  data: {}"]);
    sets(&["services", "web", "environment", "A"], "b: c", &[], &["      A:", "        b: c"]);
}

#[test]
fn a_key_goes_with_its_comments() {
    removes(&["services", "web", "environment", "DB_HOST"], &[21, 22], &[]);
    removes(&["services", "web", "ports", "0"], &[13], &[]);
    removes(
        &["services", "web", "ports", "1", "target"],
        &[14, 15],
        &["      - published: 8443   # behind the firewall"],
    );
    removes(&["services", "web", "command"], &[16, 17, 18], &[]);
    removes(&["services", "web", "labels", "0"], &[28], &["    labels: ['b=2', c=3]"]);
    removes(&["services", "web", "labels", "2"], &[28], &["    labels: [a=1, 'b=2']"]);
    removes(&["services", "web", "tmpfs"], &[27], &[]);
    removes(&["name"], &[1, 2], &[]);
}

#[test]
fn the_last_key_leaves_an_empty_mapping() {
    let mut file = Document::parse("a:\n  b: 1 # one\n").unwrap();
    assert_eq!(file.remove(&["a", "b"]).unwrap(), Node::int(1));
    assert_eq!(file.to_string(), "a:\n  {} # one\n");
    file.set(&["a", "c"], &Node::int(2)).unwrap();
    assert_eq!(file.root(), &value("a: {c: 2}"));
}

#[test]
fn an_edit_that_would_change_another_place_is_refused_and_changes_nothing() {
    let mut file = Document::parse(SHOP).unwrap();
    let error = file.set(&["x-logging", "driver"], &Node::text("none")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot change `x-logging.driver`: more than that would change, as an alias does with its anchor"
    );
    let error = file.set(&["services", "web", "logging", "driver"], &Node::text("none")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot change `services.web.logging.driver`: it comes from an anchor: change it there"
    );
    for path in [&["services", "shop", "image"][..], &["name", "x"], &["services", "web", "ports", "7"], &[]]
    {
        assert!(file.set(path, &Node::int(1)).is_err(), "{path:?}");
    }
    assert!(file.remove(&["services", "cache"]).is_err());
    assert_eq!(file.to_string(), SHOP);
}

#[test]
fn an_alias_can_be_replaced_and_what_was_merged_can_be_overridden() {
    let text = "a: &a {x: 1}\nb: *a # all\nc:\n  <<: *a\n  y: 2\n";
    let mut file = Document::parse(text).unwrap();
    file.set(&["b"], &value("{x: 3}")).unwrap();
    file.set(&["c", "x"], &Node::int(4)).unwrap();
    assert_eq!(file.to_string(), "a: &a {x: 1}\nb:\n  x: 3 # all\nc:\n  <<: *a\n  y: 2\n  x: 4\n");
}

#[test]
fn ends_of_lines_stay_as_they_are() {
    let mut file = Document::parse("a: 1\r\nb:\r\n  - x # ü\r\n").unwrap();
    file.set(&["b", "1"], &Node::text("y")).unwrap();
    file.set(&["c"], &Node::map([("d", Node::int(1))])).unwrap();
    assert_eq!(file.to_string(), "a: 1\r\nb:\r\n  - x # ü\r\n  - \"y\"\r\nc:\r\n  d: 1\r\n");
}

#[test]
fn an_empty_file_can_be_filled() {
    for (text, filled) in [("", "a: 1\n"), ("# only this\n", "# only this\na: 1\n"), ("{}\n", "a: 1\n")] {
        let mut file = Document::parse(text).unwrap();
        file.set(&["a"], &Node::int(1)).unwrap();
        assert_eq!(file.to_string(), filled);
    }
}

#[test]
fn what_is_no_single_document_is_said() {
    assert!(Document::parse("a: [1").unwrap_err()[0].to_string().contains("this is not YAML"));
    let found = Document::parse("a: 1\n---\nb: 2\n").unwrap_err();
    assert_eq!((found[0].message.as_str(), found[0].span.start.line), ("a second document begins here", 3));
}

/// Every key and item of every real file under testdata, changed, removed and added to: the edit is right or refused.
#[test]
fn edits_of_all_files_here_are_right_or_refused() {
    let (mut tried, mut refused) = (0, Vec::new());
    for folder in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata")).unwrap() {
        let Ok(text) = std::fs::read_to_string(folder.unwrap().path().join("compose.yaml")) else { continue };
        let Ok(file) = Document::parse(text) else { continue };
        let mut paths = Vec::new();
        walk(file.root(), &mut Vec::new(), &mut paths);
        for path in paths {
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            let behind = [&path[..path.len() - 1], &["a-new-key"]].concat();
            for text in ["changed", "[1, {a: b}]", "{a: {b: [c]}}", "\"two\\nlines\\n\""] {
                for path in [&path, &behind] {
                    let mut copy = file.clone();
                    match copy.set(path, &value(text)) {
                        Ok(()) => assert_eq!(copy.get(path), Some(&value(text)), "{path:?} in\n{file}"),
                        Err(error) => {
                            assert_eq!(copy.to_string(), file.to_string());
                            if error.to_string().contains("in a way") {
                                refused.push(format!("{error} to {text}\n{file}"));
                            }
                        }
                    }
                    tried += 1;
                }
            }
            if let Err(error) = file.clone().remove(&path)
                && error.to_string().contains("in a way")
            {
                refused.push(format!("{error} to nothing\n{file}"));
            }
        }
    }
    assert!(
        refused.is_empty(),
        "{} of {tried}: {}",
        refused.len(),
        refused[..refused.len().min(5)].join("\n")
    );
}

fn walk(node: &Node, path: &mut Vec<String>, paths: &mut Vec<Vec<String>>) {
    let children: Vec<(String, &Node)> = match &node.value {
        Value::Map(map) => map.iter().map(|(key, member)| (key.to_owned(), &member.node)).collect(),
        Value::List(items) => items.iter().enumerate().map(|(at, item)| (at.to_string(), item)).collect(),
        _ => Vec::new(),
    };
    for (step, child) in children {
        path.push(step);
        paths.push(path.clone());
        walk(child, path, paths);
        path.pop();
    }
}
