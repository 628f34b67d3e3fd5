use std::fmt::Write as _;

use arbitrary::{Arbitrary, Result, Unstructured};

/// The text of a Compose file that loads, made from a fuzzer's bytes: one to seven services `s0`, `s1`, … with images, builds, health checks, scales,
/// volumes, networks, and dependencies on earlier ones only, each in about every third; some networks and volumes are external.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project(pub String);

const CONDITIONS: [&str; 3] = ["service_started", "service_healthy", "service_completed_successfully"];

impl<'a> Arbitrary<'a> for Project {
    fn arbitrary(bytes: &mut Unstructured<'a>) -> Result<Self> {
        let count = bytes.int_in_range(1..=7)?;
        let mut text = String::from("services:\n");
        for at in 0..count {
            let _ = writeln!(text, "  s{at}:\n    image: i{}", bytes.int_in_range(0..=2)?);
            if bytes.ratio(1, 3)? {
                let _ = writeln!(text, "    build: ./b{}", bytes.int_in_range(0..=1)?);
            }
            if bytes.ratio(1, 4)? {
                let _ = writeln!(text, "    hostname: h{}", bytes.int_in_range(0..=2)?);
            }
            if bytes.ratio(1, 3)? {
                let _ = writeln!(text, "    scale: {}", bytes.int_in_range(0..=3)?);
            }
            if bytes.ratio(1, 3)? {
                text.push_str("    healthcheck: {test: t}\n");
            }
            if bytes.ratio(1, 3)? {
                let _ = writeln!(text, "    volumes: [\"vol{}:/v\", /anonymous]", bytes.int_in_range(0..=2)?);
            }
            if at > 0 && bytes.ratio(1, 6)? {
                let _ = writeln!(text, "    network_mode: service:s{}", bytes.int_in_range(0..=at - 1)?);
            } else if bytes.ratio(1, 2)? {
                let _ = writeln!(text, "    networks: [net{}]", bytes.int_in_range(0..=2)?);
            }
            let mut needed = std::collections::BTreeMap::new();
            for _ in 0..bytes.int_in_range(0..=2.min(at))? {
                needed.insert(bytes.int_in_range(0..=at - 1)?, *bytes.choose(&CONDITIONS)?);
            }
            if !needed.is_empty() {
                text.push_str("    depends_on:\n");
            }
            for (other, condition) in needed {
                let again = bytes.arbitrary::<bool>()?;
                let _ = writeln!(text, "      s{other}: {{condition: {condition}, restart: {again}}}");
            }
        }
        text.push_str(
            "networks: {net0: , net1: {name: fixed}, net2: {external: true}}\n\
             volumes: {vol0: , vol1: {name: fixed}, vol2: {external: true}}\n",
        );
        Ok(Self(text))
    }
}
