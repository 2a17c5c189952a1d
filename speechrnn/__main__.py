from speechrnn.cli import main

main()
