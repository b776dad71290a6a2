package main

import (
	"net"
	"net/netip"
	"strings"
)

// fileTrials are the trials of the file doors that are open. There the name of
// the user is written with a dot, since a colon ends it in most clients.
func (m welcome) fileTrials() (trials []trial) {
	user := strings.Replace(m.User, ":", ".", 1)
	if _, addr, ok := strings.Cut(m.SFTP, "sftp://"); ok {
		host, port, _ := net.SplitHostPort(addr)
		options, to := "-q -P "+port+" -oNoHostAuthenticationForLocalhost=yes", user+"@"+host
		if !isLoopback(host) {
			options = "-q -P " + port + " -oStrictHostKeyChecking=accept-new"
		}
		if strings.Contains(host, ":") {
			to = user + "@[" + host + "]"
		}
		trials = append(trials, trial{"sftp and scp (openssh-client), which ask a program for the password here, and you otherwise", []string{
			`printf '#!/bin/sh\necho "$ST_KEY"\n' > memstore-demo.sh && chmod +x memstore-demo.sh`,
			`export SSH_ASKPASS="$PWD/memstore-demo.sh" SSH_ASKPASS_REQUIRE=force`,
			"printf '%s\\n' 'mkdir memstore-demo-sftp' 'put memstore-demo.txt memstore-demo-sftp/hello.txt' 'ls -l memstore-demo-sftp' |",
			"  sftp -oBatchMode=no -b - " + options + " " + to,
			"scp " + options + " " + to + ":memstore-demo-sftp/hello.txt memstore-demo-copy.txt",
			"cat memstore-demo-copy.txt",
			"printf '%s\\n' 'rm memstore-demo-sftp/hello.txt' 'rmdir memstore-demo-sftp' |",
			"  sftp -oBatchMode=no -b - " + options + " " + to,
			"unset SSH_ASKPASS SSH_ASKPASS_REQUIRE; rm memstore-demo.sh memstore-demo-copy.txt",
		}})
	}
	if _, addr, ok := strings.Cut(m.FTP, "ftp://"); ok {
		host, _, _ := net.SplitHostPort(addr)
		protect, curl := "set ftp:ssl-allow no", `curl -sf --user `+user+`:"$ST_KEY" `
		if !isLoopback(host) { // passwords are taken over TLS only
			protect, curl = "set ssl:verify-certificate no", `curl -sf --ssl-reqd --insecure --user `+user+`:"$ST_KEY" `
		}
		url := "ftp://" + addr + "/memstore-demo-ftp"
		trials = append(trials, trial{"lftp", []string{
			`LFTP_PASSWORD="$ST_KEY" lftp --env-password -e '` + protect + `; mkdir memstore-demo-lftp; cd memstore-demo-lftp; put memstore-demo.txt; ls; cat memstore-demo.txt; cd ..; rm -r memstore-demo-lftp; bye' ftp://` + user + "@" + addr,
		}}, trial{"curl, by FTP", []string{
			curl + "--ftp-create-dirs -T memstore-demo.txt " + url + "/hello.txt",
			curl + url + "/hello.txt",
			curl + "-Q 'DELE memstore-demo-ftp/hello.txt' -Q 'RMD memstore-demo-ftp' ftp://" + addr + "/",
		}})
	}
	return trials
}

func isLoopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}
