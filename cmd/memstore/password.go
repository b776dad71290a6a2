package main

import (
	"bufio"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

// newPassword makes a password of 64 random bits that can be read aloud, as
// five-letter quintuplets of consonants and vowels: "lusab-babad-gutih-tugad"
// (proquints, arXiv:0901.4016).
func newPassword() string {
	const consonants, vowels = "bdfghjklmnprstvz", "aiou"
	var random [8]byte
	rand.Read(random[:]) // never fails
	var groups []string
	for len(groups) < 4 {
		n := binary.BigEndian.Uint16(random[2*len(groups):])
		groups = append(groups, string([]byte{
			consonants[n>>12], vowels[n>>10&3], consonants[n>>6&15], vowels[n>>4&3], consonants[n&15],
		}))
	}
	return strings.Join(groups, "-")
}

// leastPassword is how many characters a password has at least. It is no more
// than a guard against slips: what makes guessing hopeless is that addresses
// which do it are banned.
const leastPassword = 6

func checkPassword(p string) error {
	if utf8.RuneCountInString(p) < leastPassword {
		return fmt.Errorf("a password has %d characters at least", leastPassword)
	}
	return nil
}

// readPassword asks for a password: twice on a terminal, once on stdin where
// --password-stdin says so.
func readPassword(stdin io.Reader, prompts io.Writer, fromStdin bool) (string, error) {
	if fromStdin {
		line, err := bufio.NewReader(io.LimitReader(stdin, 4096)).ReadString('\n')
		if err != nil && err != io.EOF {
			return "", fmt.Errorf("reading the password: %w", err)
		}
		line = strings.TrimRight(line, "\r\n")
		if line == "" {
			return "", usage(errors.New("the password on standard input is empty"))
		}
		return line, usage(checkPassword(line))
	}
	f, ok := stdin.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return "", usage(errors.New("no terminal to ask for a password on; use --password-stdin or --generate"))
	}
	ask := func(prompt string) (string, error) {
		fmt.Fprint(prompts, prompt)
		defer fmt.Fprintln(prompts)
		p, err := term.ReadPassword(int(f.Fd()))
		return string(p), err
	}
	first, err := ask("Password: ")
	if err != nil {
		return "", err
	}
	if first == "" {
		return "", usage(errors.New("the password is empty"))
	}
	if err := checkPassword(first); err != nil {
		return "", usage(err)
	}
	second, err := ask("Again: ")
	if err != nil {
		return "", err
	}
	if first != second {
		return "", usage(errors.New("the two are not the same"))
	}
	return first, nil
}
