//! What the kernel has: elements, rules and chains.

use super::{
    Element, Family, Set,
    batch::{NEW_CHAIN, NEW_ELEMENT, NEW_RULE, NEW_TABLE, message, read_comment},
};
use crate::{
    Result,
    netlink::{Attributes, Message, Socket},
};

fn or_nothing<T>(list: Result<Vec<T>>) -> Result<Vec<T>> {
    match list {
        Err(e) if e.errno() == Some(rustix::io::Errno::NOENT.raw_os_error()) => Ok(Vec::new()),
        other => other,
    }
}

fn body(kind: u16, wanted: u16, bytes: &[u8]) -> Option<Attributes<'_>> {
    (kind == 10 << 8 | wanted).then_some(())?;
    bytes.get(4..).map(Attributes)
}

/// Elements of a set; none if there is no such table or set.
pub fn elements(family: Family, table: &str, set: &Set) -> Result<Vec<Element>> {
    let name = set.name;
    let request: Message =
        message(13, 0, family, format!("list the elements of {name}")).text(1, table).text(2, name);
    let pages = Socket::netfilter()?.dump(&request, |kind, bytes| {
        let list = body(kind, NEW_ELEMENT, bytes)?.nested(3);
        let page: Vec<Element> = list
            .filter_map(|(_, element)| {
                let element = Attributes(element);
                Some(Element {
                    set: name,
                    key: element.nested(1).find(1)?.to_vec(),
                    value: element.nested(2).find(1).unwrap_or_default().to_vec(),
                    end: element.big_endian(3).is_some_and(|flags| flags & 1 != 0),
                    owner: element.find(6).and_then(read_comment).unwrap_or_default(),
                })
            })
            .collect();
        Some(page)
    });
    Ok(or_nothing(pages)?.into_iter().flatten().collect())
}

/// Chain and comment of each rule of a table, in the kernel's order; none if there is no such table.
pub fn rules(family: Family, table: &str) -> Result<Vec<(String, String)>> {
    let request = message(7, 0, family, format!("list the rules of {family} {table}")).text(1, table);
    or_nothing(Socket::netfilter()?.dump(&request, |kind, bytes| {
        let rule = body(kind, NEW_RULE, bytes)?;
        (rule.text(1)? == table).then_some(())?;
        Some((rule.text(2)?, rule.find(7).and_then(read_comment).unwrap_or_default()))
    }))
}

/// Whether the table is there.
pub fn table_exists(family: Family, table: &str) -> Result<bool> {
    let request = message(1, 0, family, format!("look up table {family} {table}")).text(1, table);
    let found = Socket::netfilter()?.ask(&request, |kind, bytes| body(kind, NEW_TABLE, bytes).map(drop));
    Ok(found?.is_some())
}

/// Names of base chains at the `forward` hook of IPv4 whose policy is to drop, with their tables: what another
/// program's firewall lets through is not ours to say, and its verdict to drop is final.
pub fn forward_drops() -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    for family in [Family::Inet, Family::Ip] {
        let request = message(4, 0, family, "list the chains".into());
        found.extend(or_nothing(Socket::netfilter()?.dump(&request, |kind, bytes| {
            let chain = body(kind, NEW_CHAIN, bytes)?;
            let hook = chain.find(4).map(Attributes)?;
            (hook.big_endian(1)? == 2 && chain.big_endian(5)? == 0).then_some(())?;
            Some((chain.text(1)?, chain.text(3)?))
        }))?);
    }
    Ok(found)
}

/// Number of the ruleset's generation; each change makes another.
pub(super) fn generation() -> Result<u32> {
    let request = message(16, 0, Family::Inet, "ask for the generation of the rules".into());
    let found = Socket::netfilter()?.ask(&request, |_, bytes| Attributes(bytes.get(4..)?).big_endian(1))?;
    found.ok_or_else(|| crate::Error::Malformed { operation: "ask for the generation of the rules".into() })
}
