# colours with no \[ \] round them, so readline counts the bytes of the sequences as columns
PS1='\e[1;32m\u\e[0m:\e[1;34m\W\e[0m\$ '
