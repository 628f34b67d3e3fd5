use super::{
    Batch, Element, Family, Set,
    batch::{NEW_CHAIN, NEW_ELEMENT, NEW_RULE, NEW_TABLE, message, read_comment, transaction},
};
use crate::{
    Error, Result,
    netlink::{Attributes, Message, Socket},
};

/// A connection to nftables in the network namespace of the thread that opened it.
///
/// Worth keeping: when one is closed, the kernel first finishes what is left of the last changes in the namespace,
/// which takes about 10 ms (`nft_rcv_nl_event`). An embedder that changes rules twice does it over one connection.
#[derive(Debug)]
pub struct Netfilter {
    pub(crate) socket: Socket,
}

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

impl Netfilter {
    /// Opens one.
    pub fn open() -> Result<Self> {
        Ok(Self { socket: Socket::netfilter()? })
    }

    /// Carries out several batches in one transaction. Atomic over all of them.
    pub fn commit(&mut self, batches: Vec<Batch>) -> Result<()> {
        self.commit_at(batches, None)
    }

    /// The same, if the rules are still of this generation; else the kernel says `ERESTART`.
    pub(super) fn commit_at(&mut self, batches: Vec<Batch>, generation: Option<u32>) -> Result<()> {
        let messages = transaction(batches, generation);
        if messages.is_empty() {
            return Ok(());
        }
        self.socket.transact(&messages)
    }

    /// Elements of a set; none if there is no such table or set.
    pub fn elements(&mut self, family: Family, table: &str, set: &Set) -> Result<Vec<Element>> {
        let name = set.name;
        let request: Message =
            message(13, 0, family, format!("list the elements of {name}")).text(1, table).text(2, name);
        let pages = self.socket.dump(&request, |kind, bytes| {
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
    pub fn rules(&mut self, family: Family, table: &str) -> Result<Vec<(String, String)>> {
        let request = message(7, 0, family, format!("list the rules of {family} {table}")).text(1, table);
        or_nothing(self.socket.dump(&request, |kind, bytes| {
            let rule = body(kind, NEW_RULE, bytes)?;
            (rule.text(1)? == table).then_some(())?;
            Some((rule.text(2)?, rule.find(7).and_then(read_comment).unwrap_or_default()))
        }))
    }

    /// Whether the table is there.
    pub fn has_table(&mut self, family: Family, table: &str) -> Result<bool> {
        let request = message(1, 0, family, format!("look up table {family} {table}")).text(1, table);
        let found = self.socket.ask(&request, |kind, bytes| body(kind, NEW_TABLE, bytes).map(drop));
        Ok(found?.is_some())
    }

    /// Names of base chains at the `forward` hook of IPv4 whose policy is to drop, with their tables: what another
    /// program's firewall lets through is not ours to say, and its verdict to drop is final.
    pub fn forward_drops(&mut self) -> Result<Vec<(String, String)>> {
        let mut found = Vec::new();
        for family in [Family::Inet, Family::Ip] {
            let request = message(4, 0, family, "list the chains".into());
            found.extend(or_nothing(self.socket.dump(&request, |kind, bytes| {
                let chain = body(kind, NEW_CHAIN, bytes)?;
                let hook = chain.find(4).map(Attributes)?;
                (hook.big_endian(1)? == 2 && chain.big_endian(5)? == 0).then_some(())?;
                Some((chain.text(1)?, chain.text(3)?))
            }))?);
        }
        Ok(found)
    }

    /// Number of the ruleset's generation; each change makes another.
    pub(super) fn generation(&mut self) -> Result<u32> {
        let operation = "ask for the generation of the rules";
        let request = message(16, 0, Family::Inet, operation.into());
        let found = self.socket.ask(&request, |_, bytes| Attributes(bytes.get(4..)?).big_endian(1))?;
        found.ok_or_else(|| Error::Malformed { operation: operation.into() })
    }
}
