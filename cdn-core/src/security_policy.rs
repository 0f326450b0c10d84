//! CloudFront's security policies: which versions and cipher suites of TLS a viewer may use (AWS page "Supported
//! protocols and ciphers between viewers and CloudFront").
//!
//! No library that is well kept speaks anything before TLS 1.2 or suites without authenticated encryption. The policies
//! that allow such things besides are therefore played by what remains of them, and say so ([`SecurityPolicy::is_exact`]).

use std::{fmt, str::FromStr};

/// A cipher suite, by its IANA name. In the order in which CloudFront prefers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(non_camel_case_types, reason = "the names are IANA's")]
pub enum CipherSuite {
    /// TLS 1.3.
    TLS_AES_128_GCM_SHA256,
    /// TLS 1.3.
    TLS_AES_256_GCM_SHA384,
    /// TLS 1.3.
    TLS_CHACHA20_POLY1305_SHA256,
    /// TLS 1.2.
    TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    /// TLS 1.2.
    TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    /// TLS 1.2.
    TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    /// TLS 1.2.
    TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    /// TLS 1.2.
    TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    /// TLS 1.2.
    TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
}

impl CipherSuite {
    /// All of them, the preferred first.
    pub const ALL: [Self; 9] = [
        Self::TLS_AES_128_GCM_SHA256,
        Self::TLS_AES_256_GCM_SHA384,
        Self::TLS_CHACHA20_POLY1305_SHA256,
        Self::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        Self::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        Self::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        Self::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        Self::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        Self::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ];

    /// Whether it belongs to TLS 1.3.
    pub const fn is_tls13(self) -> bool {
        matches!(self, Self::TLS_AES_128_GCM_SHA256 | Self::TLS_AES_256_GCM_SHA384 | Self::TLS_CHACHA20_POLY1305_SHA256)
    }

    /// OpenSSL's name, which CloudFront's logs have.
    pub const fn openssl_name(self) -> &'static str {
        match self {
            Self::TLS_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
            Self::TLS_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
            Self::TLS_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
            Self::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 => "ECDHE-ECDSA-AES128-GCM-SHA256",
            Self::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => "ECDHE-RSA-AES128-GCM-SHA256",
            Self::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 => "ECDHE-ECDSA-AES256-GCM-SHA384",
            Self::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => "ECDHE-RSA-AES256-GCM-SHA384",
            Self::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 => "ECDHE-ECDSA-CHACHA20-POLY1305",
            Self::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => "ECDHE-RSA-CHACHA20-POLY1305",
        }
    }

    const fn is_chacha20(self) -> bool {
        matches!(
            self,
            Self::TLS_CHACHA20_POLY1305_SHA256
                | Self::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
                | Self::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
        )
    }
}

/// Declares the policies: variant, name.
macro_rules! policies {
    ($($variant:ident = $name:literal;)*) => {
        /// A security policy, by CloudFront's name.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[allow(non_camel_case_types, reason = "the names are CloudFront's")]
        pub enum SecurityPolicy {
            $(#[doc = $name] $variant,)*
            /// `TLSv1.2_2021`, the one that CloudFront recommended for years.
            #[default]
            TLSv1_2_2021,
            /// `TLSv1.2_2025`.
            TLSv1_2_2025,
            /// `TLSv1.3_2025`.
            TLSv1_3_2025,
        }

        impl SecurityPolicy {
            /// All of them, the oldest first.
            pub const ALL: [Self; 8] =
                [$(Self::$variant,)* Self::TLSv1_2_2021, Self::TLSv1_2_2025, Self::TLSv1_3_2025];

            /// CloudFront's name.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                    Self::TLSv1_2_2021 => "TLSv1.2_2021",
                    Self::TLSv1_2_2025 => "TLSv1.2_2025",
                    Self::TLSv1_3_2025 => "TLSv1.3_2025",
                }
            }
        }
    };
}

policies! {
    TLSv1 = "TLSv1";
    TLSv1_2016 = "TLSv1_2016";
    TLSv1_1_2016 = "TLSv1.1_2016";
    TLSv1_2_2018 = "TLSv1.2_2018";
    TLSv1_2_2019 = "TLSv1.2_2019";
}

impl SecurityPolicy {
    /// Whether everything that CloudFront allows under this name is allowed here too. The others allow TLS before 1.2, or
    /// suites without authenticated encryption, and are `TLSv1.2_2021` here.
    pub const fn is_exact(self) -> bool {
        matches!(self, Self::TLSv1_2_2021 | Self::TLSv1_2_2025 | Self::TLSv1_3_2025)
    }

    /// Whether TLS 1.2 is allowed; 1.3 always is.
    pub const fn allows_tls12(self) -> bool {
        !matches!(self, Self::TLSv1_3_2025)
    }

    /// Whether `suite` is allowed.
    pub const fn allows(self, suite: CipherSuite) -> bool {
        match self {
            Self::TLSv1_3_2025 => suite.is_tls13(),
            Self::TLSv1_2_2025 => !suite.is_chacha20(),
            _ => true,
        }
    }

    /// The suites that are allowed, the preferred first.
    pub fn suites(self) -> impl Iterator<Item = CipherSuite> {
        CipherSuite::ALL.into_iter().filter(move |suite| self.allows(*suite))
    }
}

/// No security policy has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no security policy of CloudFront's")]
pub struct UnknownSecurityPolicy(String);

impl FromStr for SecurityPolicy {
    type Err = UnknownSecurityPolicy;

    fn from_str(text: &str) -> Result<Self, UnknownSecurityPolicy> {
        let found = Self::ALL.into_iter().find(|policy| policy.as_str() == text);
        found.ok_or_else(|| UnknownSecurityPolicy(text.to_owned()))
    }
}

impl fmt::Display for SecurityPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_allow_what_the_table_says() {
        let chacha = CipherSuite::TLS_CHACHA20_POLY1305_SHA256;
        assert_eq!(SecurityPolicy::TLSv1_2_2021.suites().count(), 9);
        assert_eq!(SecurityPolicy::TLSv1_2_2025.suites().count(), 6);
        assert!(!SecurityPolicy::TLSv1_2_2025.allows(chacha) && SecurityPolicy::TLSv1_3_2025.allows(chacha));
        assert_eq!(SecurityPolicy::TLSv1_3_2025.suites().count(), 3);
        assert!(!SecurityPolicy::TLSv1_3_2025.allows_tls12());
        for policy in SecurityPolicy::ALL {
            assert_eq!(policy.as_str().parse(), Ok(policy));
        }
        assert!("TLSv1.2".parse::<SecurityPolicy>().is_err());
    }
}
