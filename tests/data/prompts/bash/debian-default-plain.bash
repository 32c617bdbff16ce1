# the Debian default without colours; HISTCONTROL is not set at all
unset HISTCONTROL
PS1='${debian_chroot:+($debian_chroot)}\u@\h:\w\$ '
