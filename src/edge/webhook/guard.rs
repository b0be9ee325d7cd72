//! Which addresses requests of users may go to. An endpoint is named by a user, and the daemon often
//! stands where more can be reached than from outside: other services, the cloud's metadata. Owns the
//! table of addresses and the look at a URL; resolves names, and hands out only what it has looked at, so
//! that a name cannot mean something else a moment later.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::lookup::look_up;

/// Longest URL, in bytes.
const URL_MAX: usize = 2048;

/// Why an address is not called.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is no URL that can be called.
    #[error("it is not an address such as https://example.org/hook")]
    NotAUrl,
    /// It is not encrypted.
    #[error(
        "only https:// addresses are called; for development, webhooks.allow_private = true allows \
         others, too"
    )]
    NotHttps,
    /// A password in a URL ends in logs.
    #[error(
        "an address with a user or a password in it is not called; tell callers apart by the path"
    )]
    UserInfo,
    /// It belongs to this machine, its network, or nobody.
    #[error(
        "{0} is no public address; only those are called, unless webhooks.allow_private = true, which is \
         for development"
    )]
    Internal(IpAddr),
    /// The name cannot be resolved.
    #[error("its name could not be resolved")]
    Unresolved,
    /// The name was not resolved in time, or too many others are.
    #[error("its name was not resolved in time")]
    Slow,
}

/// The guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guard {
    /// Whether private addresses and `http://` are allowed, for development.
    allow_private: bool,
}

impl Guard {
    /// A guard; `allow_private` lets loopback and private addresses pass, and `http://`.
    pub fn new(allow_private: bool) -> Self {
        Self { allow_private }
    }

    pub(super) fn allows_http(self) -> bool {
        self.allow_private
    }

    /// Looks at a URL, and answers its normal form. A host that is a number in any spelling
    /// (`0x7f.1`, `2130706433`) is an address in that form, and looked at here; names are looked at
    /// when they are resolved.
    ///
    /// # Errors
    /// Why it is not called.
    pub fn check(self, url: &str) -> Result<Url, Refused> {
        if url.len() > URL_MAX {
            return Err(Refused::NotAUrl);
        }
        let mut url = Url::parse(url).map_err(|_| Refused::NotAUrl)?;
        match url.scheme() {
            "https" => {}
            "http" if self.allow_private => {}
            "http" => return Err(Refused::NotHttps),
            _ => return Err(Refused::NotAUrl),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refused::UserInfo);
        }
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(Refused::NotAUrl)?;
        let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let literal = literal.unwrap_or(host).parse::<IpAddr>().ok();
        literal.map_or(Ok(()), |ip| self.vet(ip))?;
        url.set_fragment(None);
        Ok(url)
    }

    /// Looks at an address. The metadata of clouds is nobody's to ask for, whatever is allowed.
    ///
    /// # Errors
    /// When it is not to be called.
    pub fn vet(self, ip: IpAddr) -> Result<(), Refused> {
        let is_fine = is_public(ip) || self.allow_private && is_private(ip);
        let is_fine = is_fine && !is_metadata(ip.to_canonical());
        is_fine.then_some(()).ok_or(Refused::Internal(ip))
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = *self;
        Box::pin(async move {
            let found = look_up(name.as_str()).await?;
            // One that is internal among others is no accident.
            found.iter().try_for_each(|address| guard.vet(address.ip()))?;
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// Whether an address is one of the public internet
/// (<https://www.iana.org/assignments/iana-ipv4-special-registry>, the same for IPv6).
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, d] = ip.octets();
    !matches!(
        (a, b, c, d),
        // "This network", private, loopback, carriers' NAT, link-local with the metadata of clouds.
        (0 | 10 | 127, ..) | (100, 64..=127, ..) | (169, 254, ..) | (172, 16..=31, ..)
        // Protocol assignments, documentation, the relay of 6to4, private, benchmarks.
        | (192, 0, 0 | 2, _) | (192, 88, 99, _) | (192, 168, ..) | (198, 18 | 19, ..)
        | (198, 51, 100, _) | (203, 0, 113, _)
        // What a host of Azure asks its hypervisor.
        | (168, 63, 129, 16)
        // Multicast, reserved, broadcast.
        | (224.., ..)
    )
}

/// Only global unicast, and of that nothing which leads back to an internal IPv4 address.
fn is_public_v6(ip: Ipv6Addr) -> bool {
    let s = ip.segments();
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match s {
        // IPv4 as such, and behind a NAT64.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            embedded(high, low)
        }
        // Teredo, ORCHID, benchmarks and other protocol assignments; documentation.
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
        // 6to4.
        [0x2002, high, low, ..] => embedded(high, low),
        // ISATAP, which any prefix may have.
        [.., 0 | 0x200, 0x5efe, high, low] => is_unicast(s[0]) && embedded(high, low),
        [first, ..] => is_unicast(first),
    }
}

fn is_unicast(first: u16) -> bool {
    (0x2000..0x4000).contains(&first)
}

/// Whether somebody who develops may want to call it: loopback and private networks.
fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.segments()[0] & 0xfe00 == 0xfc00,
    }
}

/// Where clouds tell a machine its credentials: link-local addresses (AWS, Google, Azure and most
/// others: 169.254.169.254; Amazon's containers: 169.254.170.2 and .23), and the networks that Amazon
/// (`fd00:ec2::254`, `fd00:ec2::23`) and Google (`fd20:ce::254`) took from the private ones of IPv6.
fn is_metadata(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local() || ip == Ipv4Addr::new(168, 63, 129, 16),
        IpAddr::V6(ip) => {
            let [first, second, ..] = ip.segments();
            ip.is_unicast_link_local()
                || matches!((first, second), (0xfd00, 0xec2) | (0xfd20, 0xce))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STRICT: Guard = Guard { allow_private: false };
    const LOOSE: Guard = Guard { allow_private: true };

    /// Networks that are nobody's business, in another notation than the table above.
    const INTERNAL_V4: [(&str, u32); 17] = [
        ("0.0.0.0", 8),
        ("10.0.0.0", 8),
        ("100.64.0.0", 10),
        ("127.0.0.0", 8),
        ("169.254.0.0", 16),
        ("172.16.0.0", 12),
        ("192.0.0.0", 24),
        ("192.0.2.0", 24),
        ("192.88.99.0", 24),
        ("192.168.0.0", 16),
        ("198.18.0.0", 15),
        ("198.51.100.0", 24),
        ("203.0.113.0", 24),
        ("224.0.0.0", 4),
        ("240.0.0.0", 4),
        ("168.63.129.16", 32),
        ("255.255.255.255", 32),
    ];

    fn is_internal(ip: Ipv4Addr) -> bool {
        INTERNAL_V4.iter().any(|(network, bits)| {
            let network = u32::from(network.parse::<Ipv4Addr>().unwrap());
            let shift = 32 - bits;
            u64::from(u32::from(ip)) >> shift == u64::from(network) >> shift
        })
    }

    fn any_v4() -> impl Strategy<Value = Ipv4Addr> {
        let inside = (0..INTERNAL_V4.len(), any::<u32>()).prop_map(|(at, random)| {
            let (network, bits) = INTERNAL_V4[at];
            let host = u32::MAX.checked_shr(bits).unwrap_or(0);
            Ipv4Addr::from(u32::from(network.parse::<Ipv4Addr>().unwrap()) | random & host)
        });
        prop_oneof![any::<u32>().prop_map(Ipv4Addr::from), inside]
    }

    /// Every IPv6 form that carries an IPv4 address to somebody.
    fn forms(ip: Ipv4Addr) -> Vec<Ipv6Addr> {
        let n = u128::from(u32::from(ip));
        vec![
            ip.to_ipv6_mapped(),
            Ipv6Addr::from((0x0064_ff9b_u128 << 96) | n),
            Ipv6Addr::from((0x2002_u128 << 112) | n << 80 | 1),
            Ipv6Addr::from((0x2a00_u128 << 112) | (0x5efe_u128 << 32) | n),
        ]
    }

    proptest! {
        #[test]
        fn an_ipv4_address_is_refused_exactly_when_it_is_internal_in_every_form(ip in any_v4()) {
            prop_assert_eq!(STRICT.vet(ip.into()).is_err(), is_internal(ip), "{}", ip);
            for form in forms(ip) {
                prop_assert_eq!(STRICT.vet(form.into()).is_err(), is_internal(ip), "{}", form);
            }
        }

        #[test]
        fn spellings_of_an_address_make_no_difference(ip in any_v4()) {
            let (number, [a, b, c, d]) = (u32::from(ip), ip.octets());
            let low = u32::from(c) << 8 | u32::from(d);
            for host in [
                ip.to_string(), number.to_string(), format!("{number:#x}"), format!("0{number:o}"),
                format!("{a:#x}.0{b:o}.{low}"), format!("{a}.{b:#x}.{c}.{d:#X}").replace("0X", "0x"),
            ] {
                let checked = STRICT.check(&format!("https://{host}/hook"));
                prop_assert_eq!(checked.is_err(), is_internal(ip), "{}: {:?}", host, checked);
            }
        }

        #[test]
        fn ipv6_is_called_only_where_it_is_global_unicast(ip in any::<u128>()) {
            let ip = Ipv6Addr::from(ip);
            let first = ip.segments()[0];
            if STRICT.vet(ip.into()).is_ok() {
                prop_assert!((0x2000..0x4000).contains(&first));
            }
            prop_assert!(!ip.is_multicast() || STRICT.vet(ip.into()).is_err());
        }

        #[test]
        fn nothing_that_is_written_makes_the_check_panic(text in ".{0,60}") {
            let _ = STRICT.check(&text);
            let _ = LOOSE.check(&format!("http://{text}"));
        }
    }

    #[test]
    fn well_known_internal_addresses_are_refused_and_public_ones_are_not() {
        for internal in [
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "fe80::1",
            "fec0::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "2002:7f00:1::",
            "3fff::1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "100::1",
            "5f00::1",
            "169.254.169.254",
            "100.100.100.200",
            "2a00::5efe:7f00:1",
        ] {
            let ip = internal.parse().unwrap();
            assert_eq!(STRICT.vet(ip), Err(Refused::Internal(ip)));
        }
        for public in
            ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "64:ff9b::101:101", "172.32.0.1"]
        {
            assert_eq!(STRICT.vet(public.parse().unwrap()), Ok(()), "{public}");
        }
    }

    #[test]
    fn development_may_call_this_machine_but_never_the_metadata_of_a_cloud() {
        for private in ["127.0.0.1", "::1", "10.0.0.5", "192.168.1.1", "fd12::1"] {
            assert_eq!(LOOSE.vet(private.parse().unwrap()), Ok(()), "{private}");
        }
        for never in [
            "169.254.169.254",
            "169.254.170.23",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "168.63.129.16",
            "100.100.100.200",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd20:ce::254",
            "fe80::1",
            "fe80::a9fe:a9fe",
            "febf::1",
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "255.255.255.255",
        ] {
            let ip = never.parse().unwrap();
            assert_eq!(LOOSE.vet(ip), Err(Refused::Internal(ip)));
            assert_eq!(STRICT.vet(ip), Err(Refused::Internal(ip)));
        }
        assert!(matches!(LOOSE.check("http://[fd00:ec2::254]/"), Err(Refused::Internal(_))));
        for neighbour in ["fd00:ec3::254", "fd20:cf::254"] {
            assert_eq!(LOOSE.vet(neighbour.parse().unwrap()), Ok(()), "{neighbour}");
        }
    }

    #[test]
    fn a_url_is_https_names_a_host_and_holds_no_password() {
        let refused = |url: &str| STRICT.check(url).unwrap_err();
        assert_eq!(refused("http://example.org/"), Refused::NotHttps);
        assert_eq!(refused("ftp://example.org/"), Refused::NotAUrl);
        assert_eq!(refused("https://"), Refused::NotAUrl);
        assert_eq!(refused("file:///etc/passwd"), Refused::NotAUrl);
        assert_eq!(refused("https://u:p@example.org/"), Refused::UserInfo);
        assert_eq!(refused("https://u@example.org/"), Refused::UserInfo);
        assert_eq!(
            refused(&format!("https://example.org/{}", "x".repeat(URL_MAX))),
            Refused::NotAUrl
        );
        assert!(matches!(refused("https://[::1]:8443/"), Refused::Internal(_)));
        assert!(matches!(refused("https://127.1/"), Refused::Internal(_)));
        assert!(matches!(refused("https://①②⑦.⓪.⓪.①/"), Refused::Internal(_)));
        let url = STRICT.check("https://Example.org:8443/hook?token=1#part").unwrap();
        assert_eq!(url.as_str(), "https://example.org:8443/hook?token=1");
        assert!(LOOSE.check("http://127.0.0.1:9/").is_ok());
    }

    #[tokio::test]
    async fn a_name_that_means_this_machine_is_not_resolved() {
        let resolved = STRICT.resolve("localhost".parse().unwrap()).await;
        let error = resolved.err().expect("it is refused");
        assert!(matches!(error.downcast_ref(), Some(Refused::Internal(ip)) if ip.is_loopback()));
        let mut found = LOOSE.resolve("localhost".parse().unwrap()).await.ok().unwrap();
        assert!(found.all(|address| address.ip().is_loopback()));
    }
}
