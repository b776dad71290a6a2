package sftp

import (
	"crypto/rsa"
	"errors"
	"runtime"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/cpu"
)

// algorithms are what the server offers. The client's order of preference
// decides among them, and OpenSSH prefers ChaCha20, for which x/crypto has no
// assembly on amd64: there AES-GCM is ten times as fast on a processor with
// instructions for it. So ChaCha20 is offered only where AES is the slower one.
// The rest of the choice is made in greeting.go.
func algorithms(compatible bool) ssh.Config {
	c := ssh.Config{
		KeyExchanges: []string{ssh.KeyExchangeMLKEM768X25519, ssh.KeyExchangeCurve25519},
		Ciphers:      []string{ssh.CipherAES128GCM, ssh.CipherAES256GCM, ssh.CipherAES128CTR, ssh.CipherAES256CTR},
		MACs:         []string{ssh.HMACSHA256ETM, ssh.HMACSHA512ETM},
	}
	if !fastAES() {
		c.Ciphers = append([]string{ssh.CipherChaCha20Poly1305}, c.Ciphers...)
	}
	if compatible {
		c.KeyExchanges = append(c.KeyExchanges, ssh.KeyExchangeECDHP256, ssh.KeyExchangeECDHP384, ssh.KeyExchangeECDHP521)
		c.MACs = append(c.MACs, ssh.HMACSHA256, ssh.HMACSHA512)
	}
	return c
}

// keyAlgorithms are the signatures that clients may log in with. A certificate
// is not among them: there is no authority whose word would count.
var keyAlgorithms = []string{
	ssh.KeyAlgoED25519, ssh.KeyAlgoSKED25519,
	ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521, ssh.KeyAlgoSKECDSA256,
	ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256,
}

// acceptable refuses keys that nobody may log in with, whoever's they are.
func acceptable(key ssh.PublicKey) error {
	if _, ok := key.(*ssh.Certificate); ok {
		return errors.New("certificates are not accepted")
	}
	if k, ok := key.(ssh.CryptoPublicKey); ok {
		if k, ok := k.CryptoPublicKey().(*rsa.PublicKey); ok && k.N.BitLen() < 2048 {
			return errors.New("RSA keys of less than 2048 bits are not accepted")
		}
	}
	return nil
}

// hostKeys are those of keys that are to be offered, and only with signatures
// that are not SHA-1.
func hostKeys(keys []ssh.Signer, compatible bool) []ssh.Signer {
	var modern, nist []ssh.Signer
	for _, k := range keys {
		switch k.PublicKey().Type() {
		case ssh.KeyAlgoRSA:
			if as, ok := k.(ssh.AlgorithmSigner); ok {
				if rsa, err := ssh.NewSignerWithAlgorithms(as, []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}); err == nil {
					modern = append(modern, rsa)
				}
			}
		case ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521:
			nist = append(nist, k)
		default:
			modern = append(modern, k)
		}
	}
	if compatible || len(modern) == 0 {
		return append(modern, nist...)
	}
	return modern
}

// fastAES reports whether the processor has instructions for AES-GCM.
func fastAES() bool {
	switch runtime.GOARCH {
	case "amd64", "386":
		return cpu.X86.HasAES && cpu.X86.HasPCLMULQDQ
	case "arm64":
		return cpu.ARM64.HasAES && cpu.ARM64.HasPMULL
	case "s390x":
		return cpu.S390X.HasAES && cpu.S390X.HasAESGCM
	}
	return false
}
