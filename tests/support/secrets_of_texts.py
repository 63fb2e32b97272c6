"""Examples of what filters hide. All are made up, or published as examples."""

EXAMPLES: list[tuple[str, str]] = [
    ("alice.b+x@mail.example.co.uk", "email"),
    ("JÖRG_1@bücher.example", "email"),
    ("a@b.co", "email"),
    ("4111 1111 1111 1111", "card"),
    ("5555-5555-5555-4444", "card"),
    ("378282246310005", "card"),
    ("6011111111111117", "card"),
    ("DE89 3704 0044 0532 0130 00", "iban"),
    ("GB82WEST12345698765432", "iban"),
    ("no9386011117947", "iban"),
    ("+49 170 1234567", "phone"),
    ("+1 (555) 123-4567", "phone"),
    ("0041 44 668 18 00", "phone"),
    ("(555) 123-4567", "phone"),
    ("555-123-4567", "phone"),
    ("192.168.0.1", "ip"),
    ("2001:db8::8a2e:370:7334", "ip"),
    ("::ffff:192.0.2.128", "ip"),
    ("AKIAIOSFODNN7EXAMPLE", "aws_access_key"),
    ("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "aws_secret_key"),
    ("sk-ant-" + "api03-abcdEFGH0123456789", "api_key"),
    ("sk-proj-" + "abcdefghijklmnop0123456789", "api_key"),
    ("sk-" + "abcdefghij23-" + "A1b2" * 10 + "xyz", "api_key"),
    ("ghp_" + "0123456789abcdefABCDEF0123456789abcd", "api_key"),
    ("github_pat_" + "11ABCDEFG0123456789abc_defghij", "api_key"),
    ("xoxb-" + "123456789012-abcdefghij", "api_key"),
    ("sk_live_" + "0123456789abcdefABCDEF01", "api_key"),
    ("AIza" + "SyA0123456789abcdefghijklmnopqrstuv", "api_key"),
    ("hf_" + "abcdefghijklmnopqrstuvwxyzABCDEFGH", "api_key"),
    (
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_X",
        "jwt",
    ),
    ("eyAiYWxnIjogIm5vbmUiIH0.eyJzdWIiOiIxIn0.", "jwt"),
    (
        (
            "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAE\nbm9uZQ==\n"
            "-----END OPENSSH PRIVATE KEY-----"
        ),
        "private_key",
    ),
    (
        (
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n"
            "DEK-Info: AES-128-CBC,0123ABCD\n\nMIIEpAIBAAKCAQEA\n-----END RSA PRIVATE KEY-----"
        ),
        "private_key",
    ),
]
"""Texts and their kinds."""

OTHERS = [
    "4111111111111112",  # a wrong check digit
    "DE88370400440532013000",
    "AB12 is a short code",
    "a@b",
    "user@localhost and @name",
    "3.14159265358979",
    "0.4111111111111111",
    "12:30:45 on 2026-11-29",
    "1-2-3, 555-1234",
    "300.1.1.1",
    "std::vector<face::add>",
    "the version 1.2.3",
    "AKIASHORT",
    "da39a3ee5e6b4b0d3255bfef95601890afd80709",  # SHA-1 in hexadecimal
    "a/path/of/forty/characters/in/lower/case",
    "sk-short and sk-learn",
    "eyJ is how these begin",
    "-----BEGIN CERTIFICATE-----",
    "-----BEGIN PUBLIC KEY-----",
    "00000000-0000-4000-8000-000000000000",
]
"""Texts of which nothing is hidden."""
