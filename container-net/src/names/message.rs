//! DNS messages (RFC 1035 section 4, EDNS RFC 6891): what a question asks, answers, and what in a foreign answer
//! is changed. Reading is by hand where the bytes themselves matter, by simple-dns elsewhere.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use simple_dns::{
    CLASS, Name, Packet, PacketFlag, RCODE, ResourceRecord,
    rdata::{OPT, PTR, RData},
};

pub(super) const A: u16 = 1;
pub(super) const PTR_TYPE: u16 = 12;
pub(super) const AAAA: u16 = 28;
pub(super) const ANY: u16 = 255;
/// Seconds; containers come and go.
const TTL: u32 = 10;
/// What we can take by UDP, as the DNS flag day recommends.
const OUR_UDP_SIZE: u16 = 1232;
const HEADER: usize = 12;

/// A question that can be answered or passed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) id: u16,
    /// Name without the final dot, as it was written; none if a label has other than visible ASCII in it.
    pub(super) name: Option<String>,
    pub(super) kind: u16,
    pub(super) class: u16,
    /// The question's bytes.
    pub(super) question: Vec<u8>,
    /// Largest answer the asker takes by UDP.
    pub(super) limit: usize,
    edns: bool,
    recursion_desired: bool,
}

/// What becomes of a packet that came in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Incoming {
    Query(Query),
    /// Refused with this answer.
    Refuse(Vec<u8>),
    /// Not to be answered: too short, or an answer itself.
    Ignore,
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_be_bytes)
}

/// The end of the uncompressed name at `at`; none if it is longer than 255 bytes or has a pointer.
fn name_end(bytes: &[u8], at: usize) -> Option<usize> {
    let mut place = at;
    loop {
        let length = usize::from(*bytes.get(place)?);
        place += 1 + length;
        if length > 63 || place - at > 255 {
            return None;
        }
        if length == 0 {
            return Some(place);
        }
    }
}

fn dotted(name: &[u8]) -> Option<String> {
    let mut text = String::new();
    let mut rest = name;
    while let Some((length, tail)) = rest.split_first().filter(|(length, _)| **length > 0) {
        let label = tail.get(..usize::from(*length))?;
        if !label.iter().all(|b| b.is_ascii_graphic() && *b != b'.') {
            return None;
        }
        if !text.is_empty() {
            text.push('.');
        }
        text.extend(label.iter().map(|b| char::from(*b)));
        rest = tail.get(usize::from(*length)..)?;
    }
    Some(text)
}

/// Reads a packet from a container.
pub(super) fn read(bytes: &[u8]) -> Incoming {
    let (Some(id), Some(flags), Some(questions)) = (word(bytes, 0), word(bytes, 2), word(bytes, 4)) else {
        return Incoming::Ignore;
    };
    if bytes.len() < HEADER || flags & 0x8000 != 0 {
        return Incoming::Ignore;
    }
    let recursion_desired = flags & 0x0100 != 0;
    let refuse = |code: RCODE| {
        let mut reply = Packet::new_reply(id);
        *reply.rcode_mut() = code;
        if recursion_desired {
            reply.set_flags(PacketFlag::RECURSION_DESIRED);
        }
        reply.build_bytes_vec().map_or(Incoming::Ignore, Incoming::Refuse)
    };
    if flags & 0x7800 != 0 {
        return refuse(RCODE::NotImplemented);
    }
    // no answers in a question, and no more additional records than a resolver has reason to send: the parser
    // allocates by these numbers
    let plausible = questions == 1
        && word(bytes, 6) == Some(0)
        && word(bytes, 8) == Some(0)
        && word(bytes, 10).is_some_and(|n| n <= 4);
    let end = name_end(bytes, HEADER);
    let parsed = if plausible { Packet::parse(bytes).ok() } else { None };
    let (Some(packet), Some(end)) = (parsed, end) else { return refuse(RCODE::FormatError) };
    let (Some(kind), Some(class), Some(question), Some(name)) =
        (word(bytes, end), word(bytes, end + 2), bytes.get(HEADER..end + 4), bytes.get(HEADER..end))
    else {
        return refuse(RCODE::FormatError);
    };
    let limit = packet.opt().map_or(512, |opt| usize::from(opt.udp_packet_size.max(512)));
    Incoming::Query(Query {
        id,
        name: dotted(name),
        kind,
        class,
        question: question.to_vec(),
        limit,
        edns: packet.opt().is_some(),
        recursion_desired,
    })
}

/// What is said to a question from here.
#[derive(Debug)]
pub(super) enum Answer {
    /// These addresses; none: the name is there, the type is not.
    Addresses(Vec<IpAddr>),
    /// The name of an address.
    Name(String),
    /// There is no such name.
    NoSuchName,
    /// No upstream answered.
    Failure,
}

/// The answer's bytes; cut to nothing with the truncation flag if it is longer than `limit`.
pub(super) fn reply(query: &Query, answer: &Answer, limit: usize) -> Option<Vec<u8>> {
    let whole = build(query, answer, false)?;
    if whole.len() <= limit {
        return Some(whole);
    }
    build(query, answer, true)
}

fn build(query: &Query, answer: &Answer, cut: bool) -> Option<Vec<u8>> {
    // the question is taken as it came, so that its case survives
    let mut asked = vec![0; HEADER];
    if let Some(count) = asked.get_mut(5) {
        *count = 1;
    }
    asked.extend_from_slice(&query.question);
    let asked = Packet::parse(&asked).ok()?;
    let mut packet = Packet::new_reply(query.id);
    packet.set_flags(PacketFlag::RECURSION_AVAILABLE);
    if query.recursion_desired {
        packet.set_flags(PacketFlag::RECURSION_DESIRED);
    }
    packet.questions = asked.questions;
    if query.edns {
        *packet.opt_mut() = Some(OPT { opt_codes: Vec::new(), udp_packet_size: OUR_UDP_SIZE, version: 0 });
    }
    if cut {
        packet.set_flags(PacketFlag::TRUNCATION);
        return packet.build_bytes_vec_compressed().ok();
    }
    let owner = packet.questions.first()?.qname.clone();
    match answer {
        Answer::Addresses(addresses) => {
            packet.answers = addresses
                .iter()
                .map(|address| {
                    let data = match address {
                        IpAddr::V4(a) => RData::A((*a).into()),
                        IpAddr::V6(a) => RData::AAAA((*a).into()),
                    };
                    ResourceRecord::new(owner.clone(), CLASS::IN, TTL, data)
                })
                .collect();
        }
        Answer::Name(name) => {
            let target = Name::new(name).ok()?;
            packet.answers = vec![ResourceRecord::new(owner, CLASS::IN, TTL, RData::PTR(PTR(target)))];
        }
        Answer::NoSuchName => *packet.rcode_mut() = RCODE::NameError,
        Answer::Failure => *packet.rcode_mut() = RCODE::ServerFailure,
    }
    packet.build_bytes_vec_compressed().ok()
}

/// The address a reverse name stands for (RFC 1035 section 3.5, RFC 3596 section 2.5).
pub(super) fn reverse_address(name: &str) -> Option<IpAddr> {
    let name = name.to_ascii_lowercase();
    if let Some(rest) = name.strip_suffix(".in-addr.arpa") {
        let mut parts: Vec<&str> = rest.split('.').collect();
        parts.reverse();
        return parts.join(".").parse::<Ipv4Addr>().ok().map(IpAddr::V4);
    }
    let mut bits = 0_u128;
    let mut count = 0;
    for digit in name.strip_suffix(".ip6.arpa")?.rsplit('.') {
        if digit.len() != 1 {
            return None;
        }
        bits = bits << 4 | u128::from(u8::from_str_radix(digit, 16).ok()?);
        count += 1;
    }
    (count == 32).then(|| IpAddr::V6(Ipv6Addr::from_bits(bits)))
}

/// The same question under another id.
pub(super) fn with_id(bytes: &[u8], id: u16) -> Vec<u8> {
    let mut copy = bytes.to_vec();
    for (to, from) in copy.iter_mut().zip(id.to_be_bytes()) {
        *to = from;
    }
    copy
}

/// An upstream's answer made into the client's: its id, its way of writing the name. None if the packet is not
/// an answer to this question under this id.
pub(super) fn accept(bytes: &[u8], id: u16, query: &Query) -> Option<Vec<u8>> {
    let end = HEADER + query.question.len();
    let answers = word(bytes, 0)? == id && word(bytes, 2)? & 0x8000 != 0 && word(bytes, 4)? == 1;
    let question = bytes.get(HEADER..end)?;
    if !answers || !question.eq_ignore_ascii_case(&query.question) {
        return None;
    }
    let mut copy = with_id(bytes, query.id);
    copy.get_mut(HEADER..end)?.copy_from_slice(&query.question);
    Some(copy)
}

/// An answer that is too long for UDP, cut behind the question and marked so.
pub(super) fn cut(bytes: &[u8], query: &Query) -> Vec<u8> {
    let mut short = bytes.get(..HEADER + query.question.len()).unwrap_or_default().to_vec();
    if let Some(flags) = short.get_mut(2) {
        *flags |= 0x02;
    }
    if let Some(counts) = short.get_mut(6..HEADER) {
        counts.fill(0);
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(name: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        bytes.extend_from_slice(name);
        bytes.extend_from_slice(&[0, 1, 0, 1]);
        bytes
    }

    #[test]
    fn a_question_keeps_its_case_in_the_answer() {
        let Incoming::Query(query) = read(&ask(b"\x05rEdIs\x00")) else { panic!() };
        assert_eq!(query.name.as_deref(), Some("rEdIs"));
        let reply = reply(&query, &Answer::Addresses(vec![[10, 0, 0, 2].into()]), 512).unwrap();
        assert_eq!(reply.get(12..19).unwrap(), b"\x05rEdIs\x00");
        assert_eq!(reply.get(reply.len() - 4..).unwrap(), [10, 0, 0, 2]);
    }

    #[test]
    fn an_answer_longer_than_the_limit_is_cut_and_says_so() {
        let Incoming::Query(query) = read(&ask(b"\x01a\x00")) else { panic!() };
        let many = (0..100).map(|n| IpAddr::from([10, 0, 0, n])).collect();
        let reply = reply(&query, &Answer::Addresses(many), 512).unwrap();
        assert!(reply.len() <= 512 && reply.get(2).unwrap() & 2 == 2);
    }

    #[test]
    fn reverse_names_are_read() {
        assert_eq!(reverse_address("2.0.17.172.in-addr.arpa"), Some([172, 17, 0, 2].into()));
        let v6 = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.IP6.ARPA";
        assert_eq!(reverse_address(v6), Some("fd00::1".parse().unwrap()));
        for name in ["", "in-addr.arpa", "1.2.3.in-addr.arpa", "1.ip6.arpa", "256.1.1.1.in-addr.arpa"] {
            assert_eq!(reverse_address(name), None, "{name}");
        }
    }

    #[test]
    fn an_answer_to_another_question_or_id_is_not_accepted() {
        let Incoming::Query(query) = read(&ask(b"\x01a\x00")) else { panic!() };
        let mut answer = ask(b"\x01A\x00");
        answer[2] |= 0x80;
        assert!(accept(&answer, 0x1234, &query).is_some());
        assert!(accept(&answer, 0x1235, &query).is_none());
        answer[13] = b'b';
        assert!(accept(&answer, 0x1234, &query).is_none());
    }
}
