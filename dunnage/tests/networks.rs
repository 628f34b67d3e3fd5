//! Networks on an interface of the host, and the picture of all of them.

mod support;

use support::Host;

#[test]
fn a_container_on_a_macvlan_is_a_machine_on_the_hosts_network() {
    let Some(host) = Host::with_image() else { return };
    // the host's interface, and a machine at the other end of its cable
    host.program(
        "sh",
        &[
            "-c",
            "ip link add dntm0 type veth peer name dntm1 && ip link set dntm0 up && ip link set dntm1 up && \
                                 ip addr add 198.51.100.2/24 dev dntm1",
        ],
    );
    host.ok(&[
        "network",
        "create",
        "-d",
        "macvlan",
        "--subnet",
        "198.51.100.0/24",
        "--gateway",
        "198.51.100.2",
        "--ip-range",
        "198.51.100.64/26",
        "-o",
        "parent=dntm0",
        "lan",
    ]);
    assert!(host.ok(&["network", "ls"]).contains("macvlan"));
    assert!(host.ok(&["network", "inspect", "lan"]).contains("\"parent\": \"dntm0\""));
    host.ok(&[
        "run",
        "-d",
        "--name",
        "one",
        "--network",
        "lan",
        "bb",
        "sh",
        "-c",
        "echo hello >/tmp/f; httpd -f -p 80 -h /tmp",
    ]);
    host.ok(&["run", "-d", "--name", "two", "--network", "lan", "bb", "sleep", "1000"]);
    // by name, as neighbours
    assert_eq!(host.ok(&["exec", "two", "wget", "-qO-", "http://one/f"]), "hello\n");
    let address = host.ok(&["exec", "one", "ip", "-4", "-o", "addr", "show", "eth0"]);
    let address = address.split_whitespace().nth(3).unwrap().split('/').next().unwrap().to_owned();
    assert!(host.program("wget", &["-qO-", &format!("http://{address}/f")]).contains("hello"));
    // out of it and in again while it runs
    host.ok(&["network", "create", "other"]);
    host.ok(&["network", "connect", "other", "two"]);
    host.ok(&["network", "disconnect", "lan", "two"]);
    assert!(!host.ok(&["exec", "two", "ip", "-o", "addr"]).contains("198.51.100."));
    host.ok(&["network", "connect", "lan", "two"]);
    assert_eq!(host.ok(&["exec", "two", "wget", "-qO-", "http://one/f"]), "hello\n");
    let (code, error) = host.fails(&["run", "--rm", "--network", "lan", "-p", "80:80", "bb", "true"]);
    assert!(code == 125 && error.contains("own addresses"), "{error}");
    for bad in
        [vec!["-d", "overlay"], vec!["-d", "macvlan", "-o", "macvlan_mode=no"], vec!["-o", "parent=dntm0"]]
    {
        let (_, error) = host.fails(&[["network", "create"].as_slice(), &bad, &["x"]].concat());
        assert!(error.contains("network"), "{error}");
    }
    host.ok(&["rm", "-f", "one", "two"]);
    host.ok(&["network", "rm", "lan", "other"]);
    assert!(host.program("ip", &["-o", "link"]).contains("dntm0"), "the parent is the host's");
    host.leaves_nothing();
}

#[test]
fn the_graph_shows_networks_containers_addresses_and_ports() {
    let Some(host) = Host::with_image() else { return };
    host.ok(&["network", "create", "--subnet", "10.234.0.0/24", "--internal", "shut"]);
    host.ok(&["run", "-d", "--name", "web", "-p", "8099:80", "bb", "sleep", "1000"]);
    host.ok(&["network", "connect", "--ip", "10.234.0.9", "shut", "web"]);
    let dot = host.ok(&["network", "graph"]);
    for part in
        ["graph networks {", "shut\\nbridge\\ninternal\\n10.234.0.0/24", ":8099 → 80/tcp", "10.234.0.9"]
    {
        assert!(dot.contains(part), "{part}: {dot}");
    }
    let svg = host.ok(&["network", "graph", "--svg"]);
    for part in ["<svg xmlns", "web", "10.234.0.9", "8099", "</svg>"] {
        assert!(svg.contains(part), "{part}: {svg}");
    }
    host.ok(&["rm", "-f", "web"]);
    host.ok(&["network", "rm", "shut"]);
    host.leaves_nothing();
}
