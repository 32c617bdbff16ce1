# emoji, one of them joined by ZWJ and one with a variation selector; terminals count them differently
PS1='🚀 \W 👩‍💻 ❤️ ➤ '
