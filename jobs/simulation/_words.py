"""The words of the simulated world: what each topic is called in each language, and the phrases around them."""

from __future__ import annotations

LANGUAGES = ("en", "es", "pt", "de", "fr", "ja")

TOPICS = (
    "gaming", "music", "football", "cooking", "travel", "comedy", "news", "science",
    "fitness", "fashion", "beauty", "cars", "pets", "art", "photography", "education",
    "technology", "movies", "history", "gardening", "finance", "kids", "nature", "dance",
)  # fmt: skip

# One line a topic, in the order of TOPICS.
_LINES = {
    "en": """
        game level boss speedrun console
        song guitar album concert piano
        football goal match striker penalty
        recipe cake pasta kitchen bread
        travel beach hotel island backpack
        prank joke sketch standup parody
        news election debate headline report
        science physics planet experiment atom
        workout muscle running yoga squat
        outfit dress sneakers runway denim
        makeup skincare lipstick hair nails
        car engine race turbo garage
        dog cat puppy kitten parrot
        drawing painting sketchbook canvas clay
        camera lens portrait photo lighting
        lesson exam math grammar homework
        phone laptop robot software chip
        movie trailer actor scene director
        history empire castle war museum
        garden tomato roses compost seeds
        money stocks budget savings bank
        cartoon toys nursery puzzle fairy
        forest whale eagle volcano river
        dance choreography ballet salsa hiphop
    """,
    "es": """
        juego nivel jefe partida consola
        canción guitarra disco concierto piano
        fútbol gol partido delantero penalti
        receta pastel pasta cocina pan
        viaje playa hotel isla mochila
        broma chiste parodia monólogo risa
        noticias elecciones debate titular informe
        ciencia física planeta experimento átomo
        ejercicio músculo correr yoga sentadilla
        ropa vestido zapatillas pasarela vaqueros
        maquillaje piel labial pelo uñas
        coche motor carrera turbo taller
        perro gato cachorro gatito loro
        dibujo pintura cuaderno lienzo arcilla
        cámara objetivo retrato foto luz
        lección examen matemáticas gramática deberes
        móvil portátil robot programa chip
        película tráiler actor escena director
        historia imperio castillo guerra museo
        jardín tomate rosas abono semillas
        dinero acciones presupuesto ahorro banco
        dibujitos juguetes cuna rompecabezas hada
        bosque ballena águila volcán río
        baile coreografía ballet salsa bachata
    """,
    "pt": """
        jogo fase chefão partida console
        música violão álbum show piano
        futebol gol jogo atacante pênalti
        receita bolo massa cozinha pão
        viagem praia hotel ilha mochila
        pegadinha piada paródia comédia risada
        notícias eleição debate manchete reportagem
        ciência física planeta experimento átomo
        treino músculo corrida ioga agachamento
        roupa vestido tênis passarela jeans
        maquiagem pele batom cabelo unhas
        carro motor corrida turbo oficina
        cachorro gato filhote gatinho papagaio
        desenho pintura caderno tela argila
        câmera lente retrato foto luz
        aula prova matemática gramática tarefa
        celular notebook robô programa chip
        filme trailer ator cena diretor
        história império castelo guerra museu
        jardim tomate rosas adubo sementes
        dinheiro ações orçamento poupança banco
        desenhinho brinquedos berço quebra-cabeça fada
        floresta baleia águia vulcão rio
        dança coreografia balé samba forró
    """,
    "de": """
        Spiel Level Endgegner Speedrun Konsole
        Lied Gitarre Album Konzert Klavier
        Fußball Tor Spieltag Stürmer Elfmeter
        Rezept Kuchen Nudeln Küche Brot
        Reise Strand Hotel Insel Rucksack
        Streich Witz Sketch Kabarett Parodie
        Nachrichten Wahl Debatte Schlagzeile Bericht
        Wissenschaft Physik Planet Experiment Atom
        Training Muskel Laufen Yoga Kniebeuge
        Mode Kleid Turnschuhe Laufsteg Jeans
        Schminke Hautpflege Lippenstift Haare Nägel
        Auto Motor Rennen Turbo Werkstatt
        Hund Katze Welpe Kätzchen Papagei
        Zeichnen Malerei Skizzenbuch Leinwand Ton
        Kamera Objektiv Porträt Foto Licht
        Unterricht Prüfung Mathe Grammatik Hausaufgaben
        Handy Laptop Roboter Software Chip
        Film Trailer Schauspieler Szene Regisseur
        Geschichte Reich Burg Krieg Museum
        Garten Tomaten Rosen Kompost Samen
        Geld Aktien Haushalt Sparen Bank
        Trickfilm Spielzeug Kinderlied Puzzle Fee
        Wald Wal Adler Vulkan Fluss
        Tanz Choreografie Ballett Salsa Walzer
    """,
    "fr": """
        jeu niveau boss partie console
        chanson guitare album concert piano
        football but match attaquant penalty
        recette gâteau pâtes cuisine pain
        voyage plage hôtel île sac
        farce blague sketch humour parodie
        actualité élection débat titre reportage
        science physique planète expérience atome
        sport muscle course yoga squat
        tenue robe baskets défilé jean
        maquillage peau rouge cheveux ongles
        voiture moteur course turbo garage
        chien chat chiot chaton perroquet
        dessin peinture carnet toile argile
        appareil objectif portrait photo lumière
        leçon examen maths grammaire devoirs
        téléphone ordinateur robot logiciel puce
        film bande-annonce acteur scène réalisateur
        histoire empire château guerre musée
        jardin tomates roses compost graines
        argent actions budget épargne banque
        animé jouets comptine puzzle fée
        forêt baleine aigle volcan rivière
        danse chorégraphie ballet salsa valse
    """,
    "ja": """
        ゲーム レベル ボス 実況 攻略
        歌 ギター アルバム ライブ ピアノ
        サッカー ゴール 試合 選手 リーグ
        レシピ ケーキ パスタ 台所 パン
        旅行 海 ホテル 島 温泉
        ドッキリ 冗談 コント 漫才 笑い
        ニュース 選挙 討論 速報 報道
        科学 物理 惑星 実験 原子
        筋トレ 筋肉 ランニング ヨガ ダイエット
        服 ドレス スニーカー コーデ デニム
        メイク 美容 口紅 髪 ネイル
        車 エンジン レース ターボ 整備
        犬 猫 子犬 子猫 鳥
        絵 絵画 スケッチ 水彩 粘土
        カメラ レンズ 人物 写真 照明
        授業 試験 数学 文法 宿題
        スマホ パソコン ロボット アプリ 半導体
        映画 予告 俳優 名場面 監督
        歴史 帝国 城 戦争 博物館
        庭 トマト バラ 堆肥 種
        お金 株 家計 貯金 銀行
        アニメ おもちゃ 童謡 パズル 妖精
        森 鯨 鷲 火山 川
        ダンス 振付 バレエ サルサ 盆踊り
    """,
}

WORDS: dict[str, tuple[tuple[str, ...], ...]] = {
    language: tuple(tuple(line.split()) for line in text.strip().splitlines()) for language, text in _LINES.items()
}
"""``WORDS[language][topic]``: five words, the commonest first."""

TITLES = {
    "en": ("How to {a} {b}", "Best {a} {b} ever", "{a} and {b}: {c}", "My {a} {b} {c}", "{a} {b} explained"),
    "es": ("Cómo {a} {b}", "Lo mejor: {a} {b}", "{a} y {b}: {c}", "Mi {a} {b} {c}", "{a} {b} explicado"),
    "pt": ("Como {a} {b}", "O melhor: {a} {b}", "{a} e {b}: {c}", "Meu {a} {b} {c}", "{a} {b} explicado"),
    "de": ("So geht {a} {b}", "Das Beste: {a} {b}", "{a} und {b}: {c}", "Mein {a} {b} {c}", "{a} {b} erklärt"),
    "fr": ("Comment {a} {b}", "Le meilleur: {a} {b}", "{a} et {b}: {c}", "Mon {a} {b} {c}", "{a} {b} expliqué"),
    "ja": ("{a} {b} の方法", "最高の {a} {b}", "{a} と {b}: {c}", "私の {a} {b} {c}", "{a} {b} 解説"),
}

COMMENTS = {
    "en": ("love this {a}", "great {a}, thanks", "not my kind of {a}", "more {a} please!", "first"),
    "es": ("me encanta este {a}", "gran {a}, gracias", "no es mi {a}", "¡más {a} por favor!", "primero"),
    "pt": ("adorei esse {a}", "ótimo {a}, obrigado", "não gosto desse {a}", "mais {a} por favor!", "primeiro"),
    "de": ("{a}: toll", "super {a}, danke", "nicht mein {a}", "bitte mehr {a}!", "erster"),
    "fr": ("j'adore ce {a}", "super {a}, merci", "pas mon {a}", "encore {a} !", "premier"),
    "ja": ("{a} 最高", "{a} ありがとう", "{a} は苦手", "もっと {a} を!", "一番"),
}
