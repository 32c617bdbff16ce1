# the Debian default: user@host:path in colours, with a window title in front and the dollar or hash from \$
debian_chroot=
case "$TERM" in
xterm*|rxvt*|screen*|tmux*) title='\[\e]0;\u@\h: \w\a\]' ;;
*) title= ;;
esac
PS1="${title}"'${debian_chroot:+($debian_chroot)}\[\e[01;32m\]\u@\h\[\e[00m\]:\[\e[01;34m\]\w\[\e[00m\]\$ '
unset title
HISTCONTROL=ignoreboth
shopt -s histappend checkwinsize
